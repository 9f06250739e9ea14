"""`iris surveys`"""

from typing import Annotated

import typer

from iris_cli.commands import complete, options
from iris_cli.config import survey as table
from iris_cli.config.toml import to_dict
from iris_cli.console import emit, say

COLUMNS = "{:<17} {:<12} {:<10} {:<10} {:<8} {:>5} {:>4} {:>4}"


@options.command
def surveys(
    name: Annotated[
        str | None, typer.Argument(autocompletion=complete.surveys, help="One of them, for all that is known of it.")
    ] = None,
    *,
    output: options.Output,
) -> None:
    """Print the surveys that come with IRIS: line, coverage, beam and noise, for --survey.

    Examples:
        iris surveys
        iris surveys mopra-hnco
        iris config show mopra-hnco > hnco.toml
    """
    shown = {name: table.survey(name)} if name else table.surveys()
    rows = {key: to_dict(each) for key, each in shown.items()}
    if output.as_json:
        emit(rows)
    elif name:
        say(*(f"{key:<16}{_plain(value)}" for key, value in {"name": name, **rows[name]}.items()))
    else:
        say(COLUMNS.format("name", "line", "l / deg", "b / deg", "v / km/s", "km/s", '"', "K"))
        for key, each in shown.items():
            line = f"{each.molecule} {each.transition.replace('_', '')}"
            limits = (
                "…".join(f"{round(x, 2):g}" for x in limit) for limit in (each.lon_deg, each.lat_deg, each.v_km_s)
            )
            numbers = (f"{x:.2g}" for x in (each.channel_km_s, each.beam_arcsec, each.noise_K))
            say(COLUMNS.format(key, line, *limits, *numbers).rstrip())
        say('km/s: a channel; ": the beam; K: noise of a channel. More: iris surveys NAME')


def _plain(value: object) -> str:
    return " … ".join(f"{x:g}" for x in value) if isinstance(value, list) else str(value)
