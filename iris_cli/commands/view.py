"""`iris view X`: pairs, a cube, a run or a map to browse, as a page with sliders or in a window."""

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import complete, options
from iris_cli.errors import UsageError


@options.command
def view(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="X",
            autocompletion=complete.inputs,
            help="Shard folder, FITS cube, l-v image, run, or map of `iris revert`.",
        ),
    ],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page to write.  [default: X.html]")] = None,
    window: Annotated[bool, typer.Option("--window", help="Open a window instead.")] = False,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="Pairs, or samples of a map, at most.")] = 24,
    split: Annotated[
        str | None,
        typer.Option(autocompletion=complete.splits, help="Which pairs.  [default: all; of a run, those of iris test]"),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Maps that a run's sampler draws of each pair.")] = 8,
    trust: options.Trust = None,
    overwrite: options.Overwrite = False,
    output: options.Output,
) -> None:
    """Browse pairs, channels of a cube, or posterior samples: one HTML page that needs no network and no program.

    Sliders and arrow keys move through pairs, channels and samples; the pointer shows values with their units.

    Examples:
        iris view SHARDS
        iris view RUN --out run.html
        iris view cube.fits --window
        iris view map.fits --most 64
    """
    from iris_cli.commands import view_data  # imports torch
    from iris_cli.files import check_output, write_text
    from iris_cli.plots.view import figure, html

    if window and out:
        raise UsageError("--window writes no page", "leave out --out or --window")
    page = out or Path(f"{Path(what.name.removesuffix('.gz')).stem or 'view'}.html")
    if not window:
        check_output(page, overwrite, (".html",))
    found = view_data.view_of(what, most, split, samples)
    if window:
        from matplotlib import pyplot

        if pyplot.get_backend().lower() in ("agg", "pdf", "svg", "ps", "cairo", "template"):
            raise UsageError("there is no display for a window", "leave out --window and open the page in a browser")
        kept = figure(found)
        pyplot.show()
        del kept
        return
    write_text(page, html(found))
    output.result({"page": str(page), "panels": [panel.title for panel in found.panels]}, page)
