"""`iris export RUN model.iris`"""

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import complete, options
from iris_cli.console import plural
from iris_cli.machine import in_bytes


@options.command
def export(
    run: Annotated[Path, typer.Argument(help="Run folder or ensemble.", autocompletion=complete.runs)],
    out: Annotated[Path, typer.Argument(help="File to write, ending in .iris.")],
    *,
    licence: Annotated[str, typer.Option("--licence", help="Terms under which others may use it: CC-BY-4.0 …")] = "",
    about: Annotated[str, typer.Option("--about", help="A sentence for its card.")] = "",
    overwrite: options.Overwrite = False,
    output: options.Output,
) -> None:
    """Write a trained network as one file to share: weights (safetensors), grid, lines, test results and a card.

    Commands that take a run take this file. It holds no training data and no paths of this machine.

    Examples:
        iris export RUN model.iris --licence CC-BY-4.0
        iris revert model.iris cube.fits --out map.fits
        iris test model.iris SHARDS
    """
    from iris_cli.files import check_output
    from iris_cli.training import model_file  # imports torch

    check_output(out, overwrite, (model_file.SUFFIX,))
    made = model_file.export(run, out, licence, about)
    size = f"{plural(made.networks, 'network')} of {plural(made.parameters, 'number')}, {in_bytes(made.bytes)}"
    output.result(made, f"{size}: {out}")
