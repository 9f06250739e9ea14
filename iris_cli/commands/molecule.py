"""`iris molecule 13co`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from iris_cli.commands import options
from iris_cli.config.molecule import MoleculeConfig
from iris_cli.console import plural


@options.grouped
def molecule(
    name: Annotated[str, typer.Argument(help="12co, 13co, c18o, or a LAMDA file.")],
    *,
    temperature_K: Annotated[
        float | None, typer.Option("--temperature", "-t", min=2.0, help="For critical densities, K.  [default: 50]")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="How many levels and transitions to print.  [default: 12]")
    ] = None,
    config: options.ConfigFile = None,
    speech: options.Speech,
) -> None:
    """Levels, transitions, critical densities of a molecule."""
    from iris_cli.console import emit
    from iris_cli.observers.molecules import load_molecule, summary

    settings = options.configured(MoleculeConfig, config, temperature_K=temperature_K, rows=rows)
    told = summary(load_molecule(name), settings.temperature_K)
    emit(told) if speech.as_json else _print(told, settings.rows)


def _print(told: dict[str, Any], rows: int) -> None:
    from iris_cli.console import table

    partners = [p["collider"] for p in told["partners"]]
    levels, transitions = plural(len(told["levels"]), "level"), plural(len(told["lines"]), "transition")
    print(f"{told['name']}, {told['mass_u']:g} u; {levels}, {transitions}")
    print(told["source"])
    table(
        "levels",
        ("level", "energy / K", "weight"),
        [(row["label"], f"{row['energy_K']:.4f}", f"{row['weight']:g}") for row in told["levels"][:rows]],
    )
    critical = tuple(f"n {p}" for p in partners)
    table(
        f"transitions; critical densities n in cm^-3 at {told['critical_density_temperature_K']:g} K",
        ("line", "GHz", "A / s^-1", "E_u / K", *critical),
        [_transition(line, partners) for line in told["lines"][:rows]],
    )
    table(
        "collisions",
        ("with", "lines", "temperatures / K", "source"),
        [
            (p["collider"], str(p["transitions"]), f"{p['from_K']:g} … {p['to_K']:g}", p["reference"])
            for p in told["partners"]
        ],
    )
    if not told["collides_with_H"]:
        print(
            "no rates with atomic hydrogen: where x_H2 is well below 0.5, non-lte lines come out too faint (13CO(2-1),"
        )
        print("thin, x_H2 = 0.1: up to four times); a LAMDA file that has these rates mends it")
    if (hidden := len(told["lines"]) - rows) > 0:
        print(f"{plural(hidden, 'more transition')}: --rows {len(told['levels'])}")


def _transition(line: dict[str, Any], partners: list[str]) -> tuple[str, ...]:
    critical = (line["critical_density_cm3"][p] for p in partners)
    return (
        line["transition"],
        f"{line['frequency_GHz']:.7f}",
        f"{line['einstein_a_s']:.3e}",
        f"{line['upper_energy_K']:.2f}",
        *(f"{n:.2e}" if n is not None else "" for n in critical),
    )
