"""Everything that needs a GPU, in one script: `nox -s gpu`, or `python -m tests.benchmarks.gpu [--device cpu --quick]`.

Each check prints Markdown: what was measured, or why it failed; the others continue. A part that was not reached after
`--minutes` is left out by name. On the CPU (`--device cpu --quick`) the same code runs on small images, so that a
mistake in it is found before a GPU is at hand. Exit code 1 if a check failed. Results: docs/benchmarks/gpu.md.
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.config.observer import SyntheticConfig
from iris_cli.config.train import TrainConfig
from iris_cli.evaluation.loss import physical_loss
from iris_cli.observers.backends import torch_windows
from iris_cli.observers.synthetic import SyntheticObserver
from iris_cli.reverter.networks import NETWORKS
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.sampler import PosteriorSampler, Sampler
from tests.benchmarks import observer as observer_benchmark
from tests.benchmarks.training import images

#: Tests that run only with a GPU, or whose kernel only then is compiled.
TESTS = (
    "tests/training/test_nonfinite.py",
    "tests/training/test_precision.py",
    "tests/observers/test_triton_kernel.py",
)
#: The device computes in float32: its spectra and those of the CPU differ in the sixth digit.
SAME_SPECTRA = 1e-4
#: After a short training in bf16, or compiled, the validation loss differs from that in float32 by at most this share.
SAME_LOSS = 0.1


@dataclass(frozen=True)
class Bench:
    """A device, a folder to work in, and sizes."""

    device: str
    folder: Path
    grid: Grid
    galaxies: int
    batch: int

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")

    def wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], rounds: int = 5) -> float:
        """Median wall time, after one call that warms up."""
        work()
        took = []
        for _ in range(rounds):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            took.append(time.perf_counter() - start)
        return median(took)

    @property
    def shards(self) -> Path:
        """Pairs of mock galaxies, made when first wanted."""
        shards, standard = self.folder / "shards", self.folder / "standard"
        if not shards.exists():
            workers = str(os.cpu_count() or 1)
            config = self.folder / "grid.toml"
            config.write_text(f"[grid]\n{grid_toml(self.grid)}")
            run("iris_cli", "mock", standard, "-n", self.galaxies, "--config", config, "--workers", workers, "-q")
            run("iris_cli", "preobserve", standard, shards, "--backend", "compiled", "--workers", workers, "-q")
        return shards


def grid_toml(grid: Grid) -> str:
    names = ("r_steps", "r_crop_max", "lon_steps", "lat_steps", "v_steps")
    return "".join(f"{name} = {getattr(grid, name)}\n" for name in names)


def run(module: str, *words: object) -> str:
    """Standard output of `python -m module words`. AssertionError with the end of its stderr if it fails."""
    ended = subprocess.run([sys.executable, "-m", module, *map(str, words)], capture_output=True, text=True)
    assert ended.returncode == 0, f"{module} {words[0]}: exit code {ended.returncode}\n{ended.stderr[-2000:]}"
    return ended.stdout


def lines_of(metrics: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, metrics.read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


# --- the checks -------------------------------------------------------------------------------------------------------


def tests(bench: Bench) -> Iterator[str]:
    """Tests that skip without a GPU."""
    said = run("pytest", *TESTS, "-p", "no:cacheprovider", "-rs", "-m", "slow or not slow")
    yield f"```\n{said.strip()[-1500:]}\n```"


def spectra(bench: Bench) -> Iterator[str]:
    """Spectra on the device agree with those of the compiled backend, with the kernel and without."""
    tensor = observer_benchmark.galaxy(bench.grid)
    expected = SyntheticObserver(bench.grid, config=SyntheticConfig(backend="compiled")).observe(tensor)
    observer = SyntheticObserver(bench.grid, config=SyntheticConfig(backend="torch", device=bench.device))
    kernel = bench.gpu and torch_windows.triton_kernel_works(torch.device(bench.device))
    forms = {"torch operations": lambda _: False} | ({"kernel": lambda _: True} if kernel else {})
    for name, works in forms.items():
        with replaced(torch_windows, "triton_kernel_works", works):
            found = observer.observe(tensor)
        apart = observer_benchmark.rms_difference(found, expected)
        yield f"- {name}: rms difference from the compiled backend {apart:.1e}"
        assert apart < SAME_SPECTRA, f"{name} differs by {apart:.1e}"
    assert kernel or not bench.gpu, "the Triton kernel does not work here"


def speed(bench: Bench) -> Iterator[str]:
    """The observer's transfer: dense form, compiled, torch, kernel."""
    said = io.StringIO()
    with redirect_stdout(said):
        observer_benchmark.compare_forms(bench.grid, bench.device)
    yield f"```\n{said.getvalue().strip()}\n```"


def training(bench: Bench) -> Iterator[str]:
    """Each network in float32, bf16 and compiled, and both later stages: rates, waits, and equal validation losses."""
    yield "| network | stage | precision | samples/s | waits for data | validation loss |\n|---|---|---|---|---|---|"
    for network in NETWORKS:
        losses: dict[str, float] = {}
        for precision, compiled in (("fp32", False), ("bf16", False), ("bf16", True)):
            out = bench.folder / f"run-{network}-{precision}-{compiled}"
            stages = ["--samples", "--distances"] if not compiled else []
            extra = ["--compile"] if compiled else []
            words = ("--epochs", 3, "--batch-size", bench.batch, "--accumulate", 1, "--precision", precision)
            where = ("--network", network, "--device", bench.device, "--out", out, "-q")
            run("iris_cli", "train", bench.shards, *words, *where, *stages, *extra)
            name = f"{precision}{', compiled' if compiled else ''}"
            for stage in ("", "samples", "distances") if stages else ("",):
                metrics = out / stage / "metrics.jsonl"
                warm = [line for line in lines_of(metrics, "step") if line["epoch"] > 0]
                rate, wait = (median(line[key] for line in warm) for key in ("samples_per_s", "data_wait"))
                loss = lines_of(metrics, "epoch")[-1]["loss"]
                yield f"| {network} | {stage or 'network'} | {name} | {rate:.0f} | {wait:.1%} | {loss:.4f} |"
                same = losses.setdefault(stage, loss)
                assert abs(loss - same) < SAME_LOSS * abs(same), f"{network} {stage} {name}: {loss:.4f}, not {same:.4f}"


def nccl(bench: Bench) -> Iterator[str]:
    """Gradients of a single rank's DistributedDataParallel equal those of the bare network."""
    torch.manual_seed(0)
    device = torch.device(bench.device)
    observation, density = images(bench.grid.lon_steps, bench.batch, device)
    loss = physical_loss(TrainConfig()).to(device)
    bare, wrapped = (Reverter(bench.grid.lon_steps, network="sightlines").on(device) for _ in range(2))
    backend = "nccl" if bench.gpu else "gloo"
    dist.init_process_group(backend, rank=0, world_size=1, store=dist.HashStore())
    try:
        parallel = DistributedDataParallel(wrapped, device_ids=[device.index or 0] if bench.gpu else None)
        for network in (bare, parallel):
            loss(network(observation), density).mean().backward()
        flags = torch.ones(1, device=device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    finally:
        dist.destroy_process_group()
    pairs = zip(bare.parameters(), wrapped.parameters(), strict=True)
    apart = max(float((a.grad - b.grad).abs().max() / (a.grad.abs().max() + 1e-30)) for a, b in pairs)
    yield f"- {backend}: gradients differ by at most {apart:.1e} of the largest of a tensor"
    assert apart < 1e-3


def sampling(bench: Bench) -> Iterator[str]:
    """64 samples of a map, in float32 and bf16, and the mean of the maps in both."""
    size, device = bench.grid.lon_steps, torch.device(bench.device)
    first = Reverter(size, network="sightlines").on(device).eval()
    sampler = Sampler(size, first.quantity, "").on(device).eval()
    posterior = PosteriorSampler(first, sampler, 0)
    image = images(size, 1, device)[0]
    maps = posterior.samples(image, 64, ["one"])
    seconds = bench.seconds(lambda: posterior.samples(image, 64, ["one"]), 3)
    yield f"- 64 samples of {size} x {size} pixels: {seconds:.3f} s in float32"
    with torch.autocast(device.type, torch.bfloat16):
        rounded = posterior.samples(image, 64, ["one"])
        seconds = bench.seconds(lambda: posterior.samples(image, 64, ["one"]), 3)
    apart = float((rounded.float() - maps).abs().mean() / maps.abs().mean())
    yield f"- in bf16: {seconds:.3f} s; maps differ by {apart:.1%} of their mean"
    assert apart < 0.05


def fresh(bench: Bench) -> Iterator[str]:
    """Do processes that make mock galaxies keep the device busy?"""
    out, workers = bench.folder / "run-fresh", max(1, (os.cpu_count() or 1) - 1)
    words = ("--fresh", "default", "--fresh-galaxies", bench.galaxies, "--fresh-workers", workers, "--epochs", 2)
    where = ("--network", "sightlines", "--batch-size", bench.batch, "--accumulate", 1, "--device", bench.device)
    run("iris_cli", "train", bench.shards, *words, *where, "--out", out, "-q")
    warm = [line for line in lines_of(out / "metrics.jsonl", "step") if line["epoch"] > 0]
    rate, wait = (median(line[key] for line in warm) for key in ("samples_per_s", "data_wait"))
    yield f"- {workers} processes: {rate:.0f} galaxies/s; {wait:.0%} of a step waits for galaxies"


CHECKS: tuple[Callable[[Bench], Iterator[str]], ...] = (tests, spectra, nccl, training, sampling, fresh, speed)


@contextmanager
def replaced(module: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small images, few galaxies")
    parser.add_argument("--only", choices=[check.__name__ for check in CHECKS], nargs="+", default=None)
    parser.add_argument("--minutes", type=float, default=9.0)
    options = parser.parse_args()
    gpu = options.device.startswith("cuda")
    name = torch.cuda.get_device_name() if gpu else platform.machine()
    print(f"# Checks on a GPU\n\nDevice: {name}; {os.cpu_count()} cores, torch {torch.__version__}.", flush=True)
    grid = Grid().scaled(32, 32, 4, 32) if options.quick else GRID_PRESETS["small"]
    began, failed = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.device, Path(folder), grid, *((80, 4) if options.quick else (2000, 32)))
        for check in CHECKS:
            if options.only and check.__name__ not in options.only:
                continue
            print(f"\n## {check.__name__}\n\n{check.__doc__}\n", flush=True)
            if time.monotonic() - began > 60 * options.minutes:
                print(f"Not reached in {options.minutes:g} minutes.", flush=True)
                failed.append(check.__name__)
                continue
            start = time.monotonic()
            try:
                for line in check(bench):
                    print(line, flush=True)
            except Exception as error:  # the others continue
                print(f"\n**FAILED**: {error}\n\n```\n{traceback.format_exc()[-1500:]}\n```", flush=True)
                failed.append(check.__name__)
            print(f"\n({time.monotonic() - start:.0f} s)", flush=True)
    print(f"\n{'Failed: ' + ', '.join(failed) if failed else 'All checks passed.'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
