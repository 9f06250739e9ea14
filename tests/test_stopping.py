"""Work that keeps what is finished ends at a signal: at once, whole, and asking to be started again."""

from __future__ import annotations

import json
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
from iris_cli.errors import EXIT_REQUEUE
from iris_cli.standard.generate import Galaxies, write_mock
from iris_cli.stopping import stopping
from iris_cli.training.interruption import interruption

ROOT = Path(__file__).resolve().parents[1]


def test_a_signal_unwinds_the_work_past_those_who_note_failures(capsys: pytest.CaptureFixture[str]) -> None:
    unwound = False
    with pytest.raises(SystemExit) as ended, stopping("go on with --resume"):
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
        with stopping("go on with --resume"):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(SystemExit), stopping("go on with --resume"):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with pytest.raises(SystemExit), stopping("go on with --resume"):
            signal.raise_signal(signal.SIGHUP)
    finally:
        for number, hearer in was.items():
            signal.signal(number, hearer)


def test_work_in_another_thread_hears_no_signal_and_is_done() -> None:
    def work() -> object:
        with stopping("go on with --resume"), interruption(["TERM"]) as flag:
            return flag.asked, signal.getsignal(signal.SIGTERM)

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
