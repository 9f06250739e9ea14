"""How good are the samples? `python -m tests.benchmarks.posterior OUT SHARDS...`; the first set is the one to test on.

For each seed: a run of the network with a sampler, and a run of the network alone on all galaxies that takes as much
CPU time as both stages. In: shards with a test split. Out: a Markdown table of CPU times and scores of the network at
equal time, the samples of each run, those of all runs pooled, and the prior; then the consistency between runs.
Finished runs in OUT are kept. Results: docs/benchmarks/posterior.md.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from iris_cli.config.train import Noise, OptimizerConfig, SamplesConfig, TrainConfig
from iris_cli.evaluation.bootstrap import Summary
from iris_cli.evaluation.statistics import Statistics
from iris_cli.training.loop import Trainer
from iris_cli.training.test import NORMAL, inputs_of, test_run
from iris_cli.training.train import train_run
from iris_cli.training.trained_run import open_members

NUMBERS = ("crps", "energy_score", "crps_mass_dex", "mass_ratio", "mass_scatter_dex", "spread_skill", "tarp_deviation")
NUMBERS += ("row_correlation", "row_correlation_true", "brier_near", "brier_near_columns")
KINDS = ("pixels", "bright", "columns", "mass", "near")


def train(hyper: TrainConfig, run: Path) -> dict[str, float]:
    """Stage -> CPU seconds of a run, "" for the first; those of a finished run are read from its folder."""
    record = run / "cpu_s.json"
    if record.exists():
        return json.loads(record.read_text())
    found: dict[str, float] = {}
    original = Trainer.run

    def timed(self: Trainer) -> None:
        begin = time.process_time()
        original(self)
        found[self.name] = time.process_time() - begin

    Trainer.run = timed
    try:
        train_run(hyper, run, overwrite=True, quiet=True)
    finally:
        Trainer.run = original
    record.write_text(json.dumps(found))
    return found


def test(runs: Sequence[Path], hyper: TrainConfig, samples: int, pairs: int) -> Statistics:
    members = open_members(*runs)
    inputs = inputs_of(replace(hyper, data=hyper.data[:1]), "test", members=members)
    stream = inputs.normal
    inputs.streams[NORMAL] = replace(stream, numbers=stream.numbers[:pairs])
    return test_run(members, hyper, inputs, samples=samples, quiet=True).normal


def value(number: Summary | None) -> str:
    return "-" if number is None else f"{float(number.mean):.3f}"


def row(name: str, cpu_s: float, found: Statistics, predictor: str) -> str:
    numbers = found.predictors[predictor].numbers
    covered = [
        "/".join(value(numbers.get(f"coverage_{level}_{kind}")).removeprefix("0.") for level in (68, 92))
        for kind in KINDS
    ]
    skill = value(found.numbers["skill"]) if predictor == found.best else "-"
    cells = [name, f"{cpu_s:.0f}" if cpu_s else "-", skill, *(value(numbers.get(each)) for each in NUMBERS), *covered]
    return "| " + " | ".join(cells) + " |"


def main(
    out: Path,
    shards: list[Path],
    seeds: int = 3,
    network: str = TrainConfig().network,
    epochs: int = 12,
    epochs_samples: int = 10,
    unseen_fraction: float = 0.5,
    alone_network: Annotated[str, typer.Option(help="the network alone, at equal CPU time")] = "columns",
    alone_speed: Annotated[float, typer.Option(help="time of an epoch of --network over its time")] = 1.0,
    noise_K: float = 0.0,
    samples: int = 24,
    pairs: Annotated[int, typer.Option(help="pairs to test on, at most")] = 1000,
    alone: Annotated[int | None, typer.Option(help="seeds with a network alone; by default all")] = None,
) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    sampler = SamplesConfig(train=True, epochs=epochs_samples, unseen_fraction=unseen_fraction)
    base = TrainConfig(
        epochs=epochs,
        network=network,
        optimizer=OptimizerConfig(learning_rate=2e-3),
        noise=Noise(sigma_K=noise_K),
        data=tuple(map(str, shards)),
        checksums=False,
    )
    header = ["", "CPU s", "skill", *NUMBERS, *(f"{kind} in 68/92 %" for kind in KINDS)]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|", flush=True)
    runs, prior = [], None
    for seed in range(seeds):
        hyper = replace(base, seed=seed, samples=sampler)
        cpu_s = train(hyper, out / f"samples-{seed}")
        if alone is None or seed < alone:
            share = (1.0 - unseen_fraction) * sum(cpu_s.values()) / cpu_s[""] * alone_speed
            single = replace(base, seed=seed, network=alone_network, epochs=max(1, round(epochs * share)))
            equal = train(single, out / f"alone-{seed}")
            found = test([out / f"alone-{seed}"], single, 0, pairs)
            print(row(f"{alone_network}, seed {seed}", equal[""], found, "network"), flush=True)
        runs.append(out / f"samples-{seed}")
        prior = test(runs[-1:], hyper, samples, pairs)
        stages = f"{cpu_s['']:.0f} + {cpu_s['samples']:.0f} s"
        print(row(f"samples, seed {seed} ({stages})", sum(cpu_s.values()), prior, "samples"), flush=True)
        print(row(f"first network, seed {seed}", cpu_s[""], prior, "network"), flush=True)
    for size in range(2, len(runs) + 1):
        pooled = test(runs[:size], base, samples, pairs)
        print(row(f"{size} runs pooled", 0.0, pooled, "samples"), flush=True)
        print(row(f"{size} networks as an ensemble", 0.0, pooled, "ensemble"), flush=True)
        print("between runs: ", {name: value(number) for name, number in pooled.runs.items()}, flush=True)
    if prior is not None:
        print(row("prior", 0.0, prior, "prior"), flush=True)


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
