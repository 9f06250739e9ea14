"""`iris molecule 13co`"""

from typing import Annotated, Any

import typer

from iris_cli.commands import complete, options
from iris_cli.config.observer import MoleculeConfig
from iris_cli.console import emit, paragraph, plural, say, table


@options.command
def molecule(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.molecules, help="12co, 13co, c18o, hcn, cs, hnco, nh3, or a LAMDA file."
        ),
    ],
    *,
    settings: options.Settings[MoleculeConfig],
    output: options.Output,
) -> None:
    """Print levels, transitions and critical densities of a molecule.

    Examples:
        iris molecule 13co
        iris molecule hcn.dat --temperature 30 --rows 5
    """
    from iris_cli.observers.molecules import load_molecule, summary

    config = settings.resolve()
    described = summary(load_molecule(name), config.temperature_K)
    emit(described) if output.as_json else _print(described, config.rows)


def _print(described: dict[str, Any], rows: int) -> None:
    partners = [p["collider"] for p in described["partners"]]
    levels, transitions = plural(len(described["levels"]), "level"), plural(len(described["lines"]), "transition")
    say(f"{described['name']}, {described['mass_u']:g} u; {levels}, {transitions}")
    say(*paragraph(described["source"]))
    shown = [(row["label"], f"{row['energy_K']:.4f}", f"{row['weight']:g}") for row in described["levels"][:rows]]
    table("levels", ("level", "energy / K", "weight"), shown)
    title = f"transitions; critical densities n in cm^-3 at {described['critical_density_temperature_K']:g} K"
    header = ("line", "GHz", "A / s^-1", "E_u / K", *(f"n {p}" for p in partners))
    table(title, header, [_transition(line, partners) for line in described["lines"][:rows]])
    rates = [
        (p["collider"], str(p["transitions"]), f"{p['from_K']:g} … {p['to_K']:g}", p["reference"])
        for p in described["partners"]
    ]
    if rates:
        table("collisions", ("with", "lines", "temperatures / K", "source"), rates)
    else:
        say("There are no collision rates: only populations 'lte' can be computed. LAMDA files have rates.")
    if rates and not described["collides_with_H"]:
        what = "There are no collision rates with atomic hydrogen. Where x_H2 is well below 0.5, non-lte lines are too "
        what += (
            "faint: 13CO(2-1), optically thin, up to four times at x_H2 = 0.1. A LAMDA file with these rates fixes it."
        )
        say(*paragraph(what))
    if (hidden := len(described["lines"]) - rows) > 0:
        say(f"{plural(hidden, 'more transition')}: --rows {len(described['levels'])}")


def _transition(line: dict[str, Any], partners: list[str]) -> tuple[str, ...]:
    critical = (line["critical_density_cm3"][p] for p in partners)
    return (
        line["transition"],
        f"{line['frequency_GHz']:.7f}",
        f"{line['einstein_a_s']:.3e}",
        f"{line['upper_energy_K']:.2f}",
        *(f"{n:.2e}" if n is not None else "" for n in critical),
    )
