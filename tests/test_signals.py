"""Commands stop at a signal: at once, without leaving incomplete files, and with exit code 75."""

import json
import os
import signal
import subprocess
import sys
import time
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

pytestmark = pytest.mark.usefixtures("signals_arrive")
ROOT = Path(__file__).resolve().parents[1]


def test_a_signal_unwinds_the_work_and_is_not_caught_as_a_failure(capsys):
    unwound = False
    with pytest.raises(SystemExit) as ended, stop_on_signal("resume with --resume"):
        try:
            try:
                signal.raise_signal(signal.SIGUSR1)
            except Exception:
                pytest.fail("caught as an exception of the work")
        finally:
            signal.raise_signal(signal.SIGTERM)  # a second one, during the cleanup
            unwound = True
    assert ended.value.code == EXIT_REQUEUE and unwound
    assert "stopped by a signal; resume with --resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_under_nohup_sighup_stays_ignored_and_other_signals_are_handled():
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        with stop_on_signal("resume with --resume"):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(SystemExit), stop_on_signal("resume with --resume"):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with pytest.raises(SystemExit), stop_on_signal("resume with --resume"):
            signal.raise_signal(signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_work_in_another_thread_ignores_signals():
    def work():
        with stop_on_signal("resume with --resume"), catch_signals(["TERM"]) as flag:
            return flag.is_set, signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == (False, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("caught", "sent"),
    [
        (["TERM", "XCPU"], [signal.SIGXCPU, signal.SIGINT]),
        ([], [signal.SIGINT]),
        (["TERM", "XCPU"], [signal.SIGTERM, signal.SIGXCPU, signal.SIGINT, signal.SIGTERM]),
    ],
)
def test_a_training_catches_the_configured_signals_and_the_first_ctrl_c(caught, sent):
    with catch_signals(caught) as flag:
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL and not flag.is_set
        for number in sent:
            signal.raise_signal(number)
            assert flag.is_set
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGXCPU) is signal.SIG_DFL


def standard_data(folder):
    write_mock(Galaxies(MockConfig(), Grid().scaled(32, 32, 8, 32), seed=3, views=10), folder / "in", 4, quiet=True)
    return folder / "in"


def snapshot(folder):
    write(folder / "s_001.hdf5", galaxy(20000))
    return folder / "s_001.hdf5"


SIMPLE = ("--observer", "simple", "--samples-per-shard", 1)


@pytest.mark.parametrize(
    "case",
    [
        ("preobserve", standard_data, SIMPLE, "train-000003.json", "shards", "index.json"),
        ("ingest", snapshot, ("--preset", "tiny", "--views", 12), "tensor_000003.npy", "tensors", "standard.json"),
    ],
    ids=["preobserve", "ingest"],
)
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_stopped_work_is_resumed_to_the_same_bytes(iris, tmp_path, case, workers):
    command, source, options, done, kept, index = case
    given, out, whole = source(tmp_path), tmp_path / "out", tmp_path / "whole"
    words = [sys.executable, "-m", "iris_cli", command, given, out, *options, "-w", workers]
    with subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        while not (out / done).exists() and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGTERM)
        errors = running.communicate(timeout=60)[1]
    assert running.returncode == EXIT_REQUEUE and "Traceback" not in errors, errors
    assert f"finished {kept} are kept" in errors
    assert not (out / index).exists() and not [p for p in out.rglob("*") if p.name.startswith(".")]
    assert iris(command, given, out, *options, "-w", workers, "--resume", "-q").code == 0
    assert iris(command, given, whole, *options, "-q").code == 0
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    assert sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file()) == names
    assert all((out / n).read_bytes() == (whole / n).read_bytes() for n in names if n.name != "commands.jsonl")
    codes = [json.loads(line)["exit_code"] for line in (out / "commands.jsonl").read_text().splitlines()]
    assert codes == [EXIT_REQUEUE, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for a process's children")
@pytest.mark.parametrize(
    ("sent", "code", "moment"),
    [
        (signal.SIGINT, EXIT_INTERRUPTED, "workers work"),
        pytest.param(signal.SIGINT, EXIT_INTERRUPTED, "workers start", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, EXIT_REQUEUE, "workers start", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, EXIT_REQUEUE, "workers work", marks=pytest.mark.slow),
    ],
)
def test_the_parent_alone_handles_a_signal_to_all(tmp_path, sent, code, moment):
    """As a terminal sends Ctrl-C, and a batch system its warning to a step. No process prints a traceback."""
    command = [sys.executable, "-m", "iris_cli", "mock", str(tmp_path / "out"), "-n", "1000", "-w", "2", "-q"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        while running.poll() is None and not (
            len(children.read_text().split()) > 2  # two workers, and what multiprocessing starts for itself
            and (moment == "workers start" or any(tmp_path.glob(".out*/tensor_000003.npy")))
        ):
            time.sleep(0.002)
        os.killpg(running.pid, sent)
        errors = running.communicate(timeout=60)[1]
    assert running.returncode == code and len(errors.splitlines()) == (2 if code == EXIT_INTERRUPTED else 1), errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ("telescope.regrid.write_lv_image", ("cube", "c.fits", "--preset", "tiny", "--out", "lv.npz")),
        ("telescope.revert.revert", ("revert", ".", "c.fits", "--out", "map.fits")),
        ("observers.observe.observe_to_fits", ("observe", ".", "0", "--out", "c.fits")),
        ("commands.demo.run_demo", ("demo",)),
    ],
)
def test_commands_without_partial_results_are_unwound_at_a_signal(iris, tmp_path, monkeypatch, work, words):
    monkeypatch.chdir(tmp_path)
    unwound = []

    def stopped(*given, **more):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            unwound.append(True)

    monkeypatch.setattr(f"iris_cli.{work}", stopped)
    ran = iris(*words)
    assert ran.code == EXIT_REQUEUE and unwound and "start again" in ran.err


def test_a_demonstration_stopped_in_its_training_suggests_its_own_options(iris, tmp_path, monkeypatch):
    def stopped(*given, **more):
        raise Stopped("stopped by a signal after step 4", "resume with --resume auto")

    monkeypatch.setattr("iris_cli.commands.demo.run_demo", stopped)
    ran = iris("demo", "--out", tmp_path / "demo", "-q")
    assert ran.code == EXIT_REQUEUE
    assert "stopped by a signal after step 4\nhint: start again with --overwrite" in ran.err


def test_a_report_stopped_while_it_is_written_leaves_no_file(iris, trained_run, tiny_shards, tmp_path, monkeypatch):
    monkeypatch.setattr("iris_cli.evaluation.report_folder.to_json", lambda *given: signal.raise_signal(signal.SIGTERM))
    ran = iris("test", trained_run, tiny_shards, "--report", tmp_path / "report", "-q")
    assert ran.code == EXIT_REQUEUE and "start again" in ran.err
    assert list(tmp_path.iterdir()) == []
