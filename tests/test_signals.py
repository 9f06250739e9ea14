"""Work that keeps what is finished ends at a signal: at once, whole, and asking to be started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from iris_cli.config.grid import Grid
from iris_cli.config.mock import MockConfig
from iris_cli.errors import EXIT_INTERRUPTED, EXIT_REQUEUE
from iris_cli.mock.generate import Galaxies, write_mock
from iris_cli.signals import catch_signals, stop_on_signal
from iris_cli.training import Stopped
from tests.snapshots.snapshots import galaxy, write
from tests.training.makers import write_pairs

pytestmark = pytest.mark.usefixtures("hangups_are_heard")
ROOT = Path(__file__).resolve().parents[1]


def test_a_signal_unwinds_the_work_past_those_who_note_failures(capsys: pytest.CaptureFixture[str]) -> None:
    unwound = False
    with pytest.raises(SystemExit) as ended, stop_on_signal("go on with --resume"):
        try:
            try:
                signal.raise_signal(signal.SIGUSR1)
            except Exception:
                pytest.fail("a signal was taken for a failed input")
        finally:
            signal.raise_signal(signal.SIGTERM)  # another one, while things are put in order
            unwound = True
    assert ended.value.code == EXIT_REQUEUE and unwound
    assert "stopped by a signal; go on with --resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_whoever_was_started_deaf_to_a_closed_terminal_stays_so_and_hears_the_rest() -> None:
    """As `nohup` starts things; a terminal that closes is heard otherwise."""
    was = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        with stop_on_signal("go on with --resume"):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(SystemExit), stop_on_signal("go on with --resume"):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with pytest.raises(SystemExit), stop_on_signal("go on with --resume"):
            signal.raise_signal(signal.SIGHUP)
    finally:
        for number, hearer in was.items():
            signal.signal(number, hearer)


def test_work_in_another_thread_hears_no_signal_and_is_done() -> None:
    def work() -> object:
        with stop_on_signal("go on with --resume"), catch_signals(["TERM"]) as flag:
            return flag.is_set, signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == (False, signal.SIG_DFL)


@pytest.mark.parametrize("workers", [1, 2])
def test_preobserve_stops_at_a_signal_and_goes_on_to_the_same_bytes(
    iris: Callable, tmp_path: Path, workers: int
) -> None:
    standard, out = tmp_path / "standard", tmp_path / "out"
    write_mock(Galaxies(MockConfig(), Grid().scaled(32, 32, 8, 32), seed=3, views=10), standard, 4, quiet=True)
    words = ["--observer", "simple", "--samples-per-shard", "1", "-w", str(workers)]
    command = [sys.executable, "-m", "iris_cli", "preobserve", str(standard), str(out), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        while not (out / "train-000003.json").exists() and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == EXIT_REQUEUE and "Traceback" not in said, said
    assert "finished shards are kept" in said
    assert not (out / "index.json").exists() and not [p for p in out.iterdir() if p.name.startswith(".")]
    assert iris("preobserve", standard, out, *words, "--resume", "-q").code == 0
    assert iris("preobserve", standard, tmp_path / "alone", *words[:-2], "-q").code == 0
    ours, theirs = (
        {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "commands.jsonl"}
        for folder in (out, tmp_path / "alone")
    )
    assert ours == theirs
    codes = [json.loads(line)["exit_code"] for line in (out / "commands.jsonl").read_text().splitlines()]
    assert codes == [EXIT_REQUEUE, 0], "both starts are told of"


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for a process's children")
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGUSR1, EXIT_REQUEUE), (signal.SIGHUP, EXIT_REQUEUE)]
)
@pytest.mark.parametrize("moment", ["workers start", "workers work"])
def test_what_all_processes_are_sent_the_parent_alone_answers(
    tmp_path: Path, sent: signal.Signals, code: int, moment: str
) -> None:
    """As a terminal sends Ctrl-C, and a batch system its warning to a step; nobody dies of it with a traceback."""
    command = [sys.executable, "-m", "iris_cli", "mock", str(tmp_path / "out"), "-n", "1000", "-w", "2", "-q"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        while running.poll() is None and not (
            len(children.read_text().split()) > 2  # two workers, and what multiprocessing starts for itself
            and (moment == "workers start" or any(tmp_path.glob(".out*/tensor_000003.npy")))
        ):
            time.sleep(0.002)
        os.killpg(running.pid, sent)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == code and len(said.splitlines()) == (2 if sent == signal.SIGINT else 1), said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_ingest_stops_at_a_signal_and_goes_on_to_the_same_bytes(iris: Callable, tmp_path: Path, workers: int) -> None:
    write(tmp_path / "s_001.hdf5", galaxy(20000))
    words = ["--preset", "tiny", "--views", "24", "-w", str(workers)]
    out, alone = tmp_path / "out", tmp_path / "alone"
    command = [sys.executable, "-m", "iris_cli", "ingest", str(tmp_path / "s_001.hdf5"), str(out), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        while not (out / "tensor_000003.npy").exists() and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == EXIT_REQUEUE and "Traceback" not in said, said
    assert "finished tensors are kept: continue with --resume" in said
    assert not (out / "standard.json").exists() and not [p for p in out.rglob("*") if p.name.startswith(".")]
    assert iris("ingest", tmp_path / "s_001.hdf5", out, *words, "--resume", "-q").code == 0
    assert iris("ingest", tmp_path / "s_001.hdf5", alone, *words, "-q").code == 0
    ours, theirs = (
        {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "commands.jsonl"}
        for folder in (out, alone)
    )
    assert ours == theirs
    codes = [json.loads(line)["exit_code"] for line in (out / "commands.jsonl").read_text().splitlines()]
    assert codes == [EXIT_REQUEUE, 0]


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ("telescope.regrid.write_lv_image", ("cube", "c.fits", "--preset", "tiny", "--out", "lv.npz")),
        ("telescope.revert.revert", ("revert", ".", "c.fits", "--out", "map.fits")),
        ("observers.observe.observe_to_fits", ("observe", ".", "0", "--out", "c.fits")),
        ("commands.demo.run_demo", ("demo",)),
    ],
)
def test_what_is_done_in_one_go_is_unwound_at_a_signal(
    iris: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    unwound = []

    def stopped(*given: object, **more: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            unwound.append(True)

    monkeypatch.setattr(f"iris_cli.{work}", stopped)
    ran = iris(*words)
    assert ran.code == EXIT_REQUEUE and unwound and "start again" in ran.err


def test_a_demonstration_that_is_stopped_in_its_training_says_what_a_demonstration_can(
    iris: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object, **more: object) -> None:
        raise Stopped("stopped by a signal after step 4", "go on with --resume auto")

    monkeypatch.setattr("iris_cli.training.train.train_run", stopped)
    ran = iris("demo", "--out", tmp_path / "demo", "-n", "10", "-w", "1", "-q")
    assert ran.code == EXIT_REQUEUE
    assert "stopped by a signal after step 4\nhint: start again with --overwrite" in ran.err


def test_a_report_that_is_stopped_while_it_is_written_leaves_nothing(
    iris: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_pairs(tmp_path / "shards", {"train": range(4), "test": range(200, 203)})
    assert iris("train", shards, "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 4, "-q").code == 0
    monkeypatch.setattr("iris_cli.evaluation.report_folder.to_json", lambda *told: signal.raise_signal(signal.SIGTERM))
    before = sorted(tmp_path.iterdir())
    ran = iris("test", tmp_path / "run", shards, "--report", tmp_path / "report", "-q")
    assert ran.code == EXIT_REQUEUE and "start again" in ran.err
    assert sorted(tmp_path.iterdir()) == before
