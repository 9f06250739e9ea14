"""How fast is a training step? `python -m tests.benchmarks.training --help`. Results: docs/benchmarks/training.md.

The paper's network in plain PyTorch (eager float32, NCHW, library convolutions, the loss as its formula, Adam with its
defaults) and the forms of this program take steps in turn, so that a busy machine slows all of them; the result is the
median over rounds of the ratio within a round, of elapsed and of processor time. Then come complete runs from shards:
the share of a step that waits for data, and two ranks compared with one. On a GPU: `--device cuda`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import typer
from torch import Tensor, nn

from iris_cli.config.grid import Grid
from iris_cli.config.train import TrainConfig
from iris_cli.distributed import World
from iris_cli.evaluation.loss import physical_loss
from iris_cli.reverter.cpu_layers import FewChannelNorm, MatrixConv2d, MatrixConvTranspose2d
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.optimizer import optimizer_and_scheduler
from iris_cli.training.precision import Precision, compile_in_place
from iris_cli.training.step import FiniteCheck, restore_buffers
from tests.training.makers import write_pairs

Step = Callable[[], float]
BASES: dict[type[nn.Module], type[nn.Module]] = {
    MatrixConv2d: nn.Conv2d,
    MatrixConvTranspose2d: nn.ConvTranspose2d,
    FewChannelNorm: nn.BatchNorm2d,
}


def images(size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(0)
    return tuple(torch.rand(batch, 1, size, size, generator=dice).to(device) for _ in range(2))


def plain(size: int, batch: int, device: torch.device) -> Step:
    """The network in plain PyTorch."""
    reverter = Reverter(size, network="paper").to(device)
    for layer in reverter.modules():
        layer.__class__ = BASES.get(type(layer), type(layer))
    optimizer = torch.optim.Adam(reverter.parameters(), TrainConfig().optimizer.learning_rate)
    n = float(physical_loss(TrainConfig()).normalization)
    observation, density = images(size, batch, device)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.asinh(((reverter(observation) - density) / n) ** 2).mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def optimized(precision: str, compiled: bool, size: int, batch: int, device: torch.device) -> Step:
    hyper = TrainConfig()
    reverter, loss = Reverter(size, network="paper").on(device), physical_loss(hyper).to(device)
    if compiled:
        compile_in_place(reverter, device)
    optimizer = optimizer_and_scheduler(reverter.parameters(), hyper)[0]
    training = Precision(precision, device, compiled=compiled)
    observation, density = images(size, batch, device)

    def step() -> float:
        before = [buffer.clone() for buffer in reverter.buffers()]
        optimizer.zero_grad(set_to_none=True)
        prediction = training.forward(reverter, observation, usual_size=True)
        total = loss.per_sample(prediction, density).sum()
        training.backward(total / batch)
        check = FiniteCheck.of(total.detach(), World())
        training.update(optimizer, 0.0, check.skip)
        restore_buffers(reverter, before, check.skip)
        return float(total.detach()) / batch

    return step


FORMS: dict[str, Callable[[int, int, torch.device], Step]] = {
    "plain eager float32": plain,
    "fp32": partial(optimized, "fp32", False),
    "bf16": partial(optimized, "bf16", False),
    "fp32, compiled": partial(optimized, "fp32", True),
    "bf16, compiled": partial(optimized, "bf16", True),
}


def steps(size: int, batch: int, device: torch.device, rounds: int, most: int = 2) -> None:
    """A table of step times; the first steps also say how far the losses of the forms are apart."""
    forms = {name: make(size, batch, device) for name, make in FORMS.items()}
    losses = {name: [step() for _ in range(4)] for name, step in forms.items()}  # compiles, too
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, step in forms.items():
            seconds[name].append(min(timed(step) for _ in range(most)))
    first = next(iter(forms))
    head = ("form", "s/step", "ratio", "CPU s", "ratio", "loss of steps 1 to 4, relative to plain")
    print("{:22s} {:>8s} {:>7s} {:>8s} {:>7s}  {}".format(*head))
    for name, values in seconds.items():
        numbers = []
        for plain, own in zip(zip(*seconds[first], strict=True), zip(*values, strict=True), strict=True):
            numbers += [median(own), median(a / b for a, b in zip(plain, own, strict=True))]
        apart = " ".join(f"{b / a - 1:+.0e}" for a, b in zip(losses[first], losses[name], strict=True))
        print("{:22s} {:8.3f} {:7.2f} {:8.3f} {:7.2f}  {}".format(name, *numbers, apart), flush=True)


def timed(step: Step) -> tuple[float, float]:
    """Elapsed and processor time."""
    start, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start, time.process_time() - cpu


def runs(size: int, batch: int, device: str, pairs: int) -> None:
    """Runs from shards, on one rank and on two with half the batch each."""
    with tempfile.TemporaryDirectory() as folder:
        shards = write_pairs(Path(folder) / "shards", {"train": range(pairs)}, grid=Grid().scaled(size, size, 4, size))
        speeds = {}
        for ranks in (1, 2) if device == "cpu" else (1,):
            out = Path(folder) / f"run-{ranks}"
            threads = str(max(1, (os.cpu_count() or 1) // ranks))
            options = ("--epochs", 2, "--batch-size", batch // ranks, "--accumulate", 2, "--precision", "bf16", "-q")
            where = ("--out", out, "--device", device, "--nproc-per-node", ranks)
            words = [sys.executable, "-m", "iris_cli", "train", *map(str, (shards, *options, *where))]
            subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": threads})
            lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            lines = [line for line in lines if line["kind"] == "step" and line["epoch"] == 1]  # the second, warmed up
            speeds[ranks] = median(line["samples_per_s"] for line in lines)
            waits = median(line["data_wait"] for line in lines)
            print(f"{ranks} rank(s): {speeds[ranks]:.1f} samples/s, {waits:.2%} of a step waits for data", flush=True)
        if 2 in speeds:
            print(f"efficiency of two ranks: {speeds[2] / speeds[1]:.2f} of one rank with two threads")


def main(
    size: int = 512, batch: int = 8, rounds: int = 7, pairs: int = 96, device: str = "cpu", only: str = ""
) -> None:
    """`only` is "steps" or "runs"."""
    threads, pixels = torch.get_num_threads(), f"{size}^2 pixels"
    print(f"torch {torch.__version__}, {threads} threads, {pixels}, batch {batch}")
    if only != "runs":
        steps(size, batch, torch.device(device), rounds)
    if only != "steps":
        runs(size, batch, device, pairs)


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
