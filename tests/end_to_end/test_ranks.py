"""The same numbers and the same endings on any number of processes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from iris_cli.distributed import first_node, launch
from iris_cli.errors import UsageError
from iris_cli.ranks import rank_info
from tests.end_to_end.ranks import train_without_batch_norm
from tests.training.makers import set_nan, write_pairs

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--batch-size", "2", "--accumulate", "2", "-q")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 pairs to train on, 7 to test on: numbers that 2 and 3 ranks do not divide."""
    splits = {"train": range(13), "validation": range(100, 105), "test": range(200, 207)}
    return write_pairs(tmp_path_factory.mktemp("pairs") / "shards", splits)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "iris_cli", *map(str, words)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=120)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_test_gives_one_answer_on_one_two_and_three_ranks(iris: Callable, shards: Path, tmp_path: Path) -> None:
    iris("train", shards, "--out", tmp_path / "run", "--epochs", 1, "--noise-sigma-k", 1, *SHORT)
    reports = [json.loads(iris("test", tmp_path / "run", shards, "--json", "-q").out)]
    for ranks in (2, 3):
        tested = run("test", tmp_path / "run", shards, "--nproc-per-node", ranks, "--json", "-q")
        assert tested.returncode == 0, tested.stderr
        reports.append(json.loads(tested.stdout))
    for report in reports[1:]:
        assert report["pairs"] == reports[0]["pairs"] == 7
        for name, value in reports[0].items():
            if isinstance(value, float):
                assert report[name] == pytest.approx(value, rel=1e-6), name


def test_a_report_is_one_on_two_ranks_and_written_once(iris: Callable, shards: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        iris(
            "train",
            shards,
            "--out",
            tmp_path / "runs" / f"member-{seed:02d}",
            "--epochs",
            1,
            "--seed",
            seed,
            "--noise-sigma-k",
            1,
            *SHORT,
        )
    assert iris("test", tmp_path / "runs", shards, "--report", tmp_path / "one", "-q").code == 0
    both = run("test", tmp_path / "runs", shards, "--report", tmp_path / "two", "--nproc-per-node", 2, "-q")
    assert both.returncode == 0 and both.stdout.count("report.html") == 1, both.stderr
    one, two = (json.loads((tmp_path / name / "report.json").read_text())["sets"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        for kind in ("numbers", "curves"):
            for measure, number in one[name][kind].items():
                for part, value in number.items():
                    if not isinstance(value, str):
                        other = np.array(two[name][kind][measure][part], float)  # None becomes NaN
                        np.testing.assert_allclose(
                            other, np.array(value, float), 1e-4, 1e-7, err_msg=f"{name} {measure}"
                        )
    again = iris("test", tmp_path / "runs", shards, "--report", tmp_path / "two", "--nproc-per-node", 2, "-q")
    assert again.code == 1 and again.err.count("error:") == 1 and "exists" in again.err  # no rank was started


def test_two_ranks_with_half_the_batch_take_the_steps_of_one(shards: Path, tmp_path: Path) -> None:
    script = [str(word) for word in (ROOT / "tests" / "end_to_end" / "ranks.py", shards, tmp_path / "two", 2)]
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    alone, _ = train_without_batch_norm(str(shards), batch=4)
    first, second = (torch.load(tmp_path / f"two-{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(first[name], second[name])
    one, other = (torch.load(tmp_path / f"two-normed-{rank}.pt", weights_only=True) for rank in (0, 1))
    differ = {name.rpartition(".")[2] for name in one if not torch.equal(one[name], other[name])}
    assert "running_mean" in {name.rpartition(".")[2] for name in one}
    assert differ <= {"num_batches_tracked"}, differ  # a count that nothing is computed from


def start(shards: Path, out: Path, *words: object) -> subprocess.Popen[str]:
    """A long run on two ranks, once it has taken its first epoch."""
    words = ("train", shards, "--out", out, "--epochs", 1000, "--nproc-per-node", 2, *SHORT, *words)
    started = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    metrics, end = out / "metrics.jsonl", time.monotonic() + 90
    while not (metrics.exists() and '"epoch"' in metrics.read_text()):
        assert started.poll() is None and time.monotonic() < end, started.communicate()
        time.sleep(0.1)
    return started


def ranks_of(launcher: subprocess.Popen[str]) -> list[int]:
    """Process ids of the launcher's ranks, by rank."""
    children = (Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")).read_text().split()
    ranks = {}
    for child in children:
        variables = dict(v.partition("=")[::2] for v in Path(f"/proc/{child}/environ").read_text().split("\0"))
        ranks[variables.get("RANK")] = int(child)
    return [ranks["0"], ranks["1"]]


def test_a_signal_to_the_launcher_saves_and_asks_to_be_queued_again(shards: Path, tmp_path: Path) -> None:
    started = start(shards, tmp_path / "run")
    started.send_signal(signal.SIGUSR1)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 75, said
    assert "saved in" in said and "Traceback" not in said
    step = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert any(f"{step:09d}" in path.name for path in (tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find the ranks")
def test_a_rank_that_dies_takes_the_run_down_and_a_signal_to_one_rank_stops_all(shards: Path, tmp_path: Path) -> None:
    started = start(shards, tmp_path / "asked")
    os.kill(ranks_of(started)[1], signal.SIGTERM)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 75, said
    started = start(shards, tmp_path / "dead")
    os.kill(ranks_of(started)[1], signal.SIGKILL)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 1, said
    assert "rank 0 has lost another rank" in said and "Traceback" not in said


def test_a_wrong_word_is_told_once_by_all_ranks_together(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    ran = run("train", shards, "--out", tmp_path / "run", "--nproc-per-node", 2, *SHORT)
    assert ran.returncode == 2
    assert ran.stderr.count("error:") == 1 and "exists" in ran.stderr and "Traceback" not in ran.stderr


def test_a_seat_is_torchrun_s_or_srun_s_and_a_batch_script_has_none() -> None:
    assert rank_info({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "x"}).rank == 3
    step = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3", "SLURM_LOCALID": "0"}
    assert (rank_info(step).rank, rank_info(step).size) == (2, 3)
    assert rank_info({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}).size == 1
    assert rank_info({}).size == 1
    with pytest.raises(UsageError, match="SLURM_STEP_NUM_TASKS = 'x' is no number"):
        rank_info({**step, "SLURM_STEP_NUM_TASKS": "x"})


@pytest.mark.parametrize(
    ("nodes", "first"), [("gpu[07-09,12],cpu1", "gpu07"), ("a1,a2", "a1"), ("one", "one"), ("c[3,5]-x", "c3")]
)
def test_the_first_node_of_a_slurm_list_is_found(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


def test_an_ensemble_on_two_ranks_has_a_whole_run_for_each_member(shards: Path, tmp_path: Path) -> None:
    words = ("train", shards, "--out", tmp_path / "run", "--epochs", 1, "--members", 2, "--json", *SHORT)
    ran = run(*words, "--nproc-per-node", 2, "--torchrun", "--max-restarts=0 --log-dir=" + str(tmp_path / "logs"))
    assert ran.returncode == 0, ran.stderr
    members = json.loads(ran.stdout)["members"]
    assert [Path(m["run"]).name for m in members] == ["member-01", "member-02"]
    first, second = (torch.load(Path(m["run"]) / "checkpoints" / "best.pt", weights_only=True) for m in members)
    assert (first["config"]["seed"], second["config"]["seed"]) == (0, 1)
    name = "decoder._1_1_transpose_convolution.weight"
    assert not torch.equal(first["model"][name], second["model"][name])
    assert (tmp_path / "logs").is_dir()  # torchrun's own option has reached it
    again = run(*words, "--resume")
    assert again.returncode == 0 and json.loads(again.stdout)["members"] == members


@pytest.mark.parametrize("ending", ["done", "failed"])
def test_a_process_that_launches_ranks_is_afterwards_what_it_was(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Handlers, environment and logging of a Python caller that lives on."""
    monkeypatch.chdir(ROOT)
    signals = [signal.Signals[f"SIG{name}"] for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "XCPU")]
    root = logging.getLogger()

    def state() -> tuple[object, ...]:
        return (
            [signal.getsignal(n) for n in signals],
            dict(os.environ),
            root.manager.disable,
            root.level,
            root.handlers[:],
        )

    mine = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        before = state()
        epochs = "1" if ending == "done" else "none"
        code = launch(2, ["train", str(shards), "--out", str(tmp_path / "run"), "--epochs", epochs, *SHORT])
        assert code == (0 if ending == "done" else 2)
        assert state() == before
    finally:
        signal.signal(signal.SIGUSR1, mine)


def test_ranks_can_be_launched_from_any_thread(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    codes = []
    words = ["train", str(shards), "--out", str(tmp_path / "run"), "--epochs", "1", *SHORT]
    thread = threading.Thread(target=lambda: codes.append(launch(2, words)))
    thread.start()
    thread.join(timeout=120)
    assert codes == [0]


@pytest.mark.parametrize(("way", "code"), [("stop", 1), ("skip", 0)])
def test_a_loss_of_one_rank_that_is_not_finite_is_told_with_its_samples(tmp_path: Path, way: str, code: int) -> None:
    """Also where it is not rank 0: the bad sample is in the share of rank 1 of the first step."""
    folder = write_pairs(tmp_path / "shards", {"train": range(13), "validation": range(100, 105)})
    set_nan(folder, "g0002_v1")
    ran = run(
        "train",
        folder,
        "--out",
        tmp_path / "run",
        "--epochs",
        1,
        "--nproc-per-node",
        2,
        "--no-checksums",
        "--on-nan",
        way,
        *SHORT,
    )
    assert ran.returncode == code, ran.stderr
    told = [line for line in ran.stderr.splitlines() if "is not finite" in line]
    assert len(told) == 1 and "g0002_v1" in told[0] and told[0].count("_v") == 4
    assert "Traceback" not in ran.stderr


def test_an_option_that_torchrun_does_not_know_is_refused(shards: Path, tmp_path: Path) -> None:
    ran = run("train", shards, "--out", tmp_path / "run", "--torchrun=--no-such-option", *SHORT)
    assert ran.returncode == 2 and "--no-such-option" in ran.stderr and not (tmp_path / "run").exists()
