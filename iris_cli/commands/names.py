"""Checks the names in a configuration that other packages define: networks, losses, lines, orbits."""

from typing import Any

from iris_cli.errors import choose


def check(configuration: str, config: Any) -> None:
    """UsageError or DataError for an unknown name, as the command itself would raise it."""
    if configuration == "demo":
        check("preobserve", config.preobserve)
        check("train", config.train)
    elif configuration == "train":
        _train(config)
    elif configuration == "observe":
        _observe(config)
    elif configuration == "preobserve" and config.observer == "synthetic":
        _observe(config.synthetic)
    elif configuration == "figure":
        from iris_cli.plots.orbits import tracks

        tracks(config.orbits)


def _train(config: Any) -> None:
    from iris_cli.config.survey import surveys
    from iris_cli.evaluation.loss import physical_loss
    from iris_cli.observers.registry import OBSERVERS
    from iris_cli.reverter.networks import network_named
    from iris_cli.training.optimizer import OPTIMIZERS, SCHEDULES

    network_named(config.network)
    choose("optimizer", config.optimizer.name, OPTIMIZERS)
    choose("schedule", config.schedule.name, SCHEDULES)
    choose("observer", config.observer, {"": None, **OBSERVERS, **surveys()})
    physical_loss(config)


def _observe(config: Any) -> None:
    from iris_cli.observers.molecules import check_rates, load_molecule, tracer_abundance

    for line in config.lines:
        load_molecule(line.molecule).line(line.transition)
        tracer_abundance(line.molecule, line.tracer_per_CO)
    check_rates(config)
