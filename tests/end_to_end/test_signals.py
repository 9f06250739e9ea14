"""Which signals make a training save and stop, with one process and with ranks."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from iris_cli.training.run_folder import RunFolder
from shards.owner import process_start
from tests.end_to_end.launches import ROOT, TWO_RANKS, end_of, endless, environment, finished_an_epoch, start

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="signals and terminals of Linux"),
    pytest.mark.usefixtures("signals_arrive"),
]
ONE_AND_TWO_RANKS = pytest.mark.parametrize("ranks", [(), TWO_RANKS], ids=["1 rank", "2 ranks"])


def test_a_signal_to_the_launcher_saves_and_asks_to_be_queued_again(shards, tmp_path):
    process = start(shards, tmp_path / "run", *TWO_RANKS)
    code, errors = end_of(process, signal.SIGUSR1)
    assert code == 75 and "saved in" in errors and "Traceback" not in errors, errors
    step = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert RunFolder(tmp_path / "run").newest().progress.step >= step > 0  # a line may hold several steps


@pytest.mark.slow
@ONE_AND_TWO_RANKS
@pytest.mark.parametrize(
    ("configured", "sent", "saves"),
    [("", signal.SIGINT, True), ("term,SIGXCPU", signal.SIGXCPU, True), ("TERM", signal.SIGUSR1, False)],
)
def test_ctrl_c_and_configured_signals_save_and_others_end_a_run_at_once(
    shards, tmp_path, ranks, configured, sent, saves
):
    code, errors = end_of(start(shards, tmp_path / "run", "--stop-signals", configured, *ranks), sent)
    assert code == (75 if saves else 130 if ranks else -sent) and ("saved in" in errors) == saves, errors
    assert "Traceback" not in errors or not saves, errors


@pytest.mark.slow
@ONE_AND_TWO_RANKS
def test_under_nohup_a_run_continues_when_its_terminal_closes(shards, tmp_path, ranks):
    from torch.distributed.run import get_args_parser

    if ranks and "--signals-to-handle" not in get_args_parser().format_help():
        pytest.skip("this torchrun always handles SIGHUP")
    process = start(shards, tmp_path / "run", *ranks, before=["nohup"])
    process.send_signal(signal.SIGHUP)
    time.sleep(1.5)
    assert process.poll() is None
    code, errors = end_of(process, signal.SIGTERM)
    assert code == 75 and "saved in" in errors, errors


@pytest.mark.slow
@ONE_AND_TWO_RANKS
def test_a_run_is_saved_when_its_terminal_closes(shards, tmp_path, ranks):
    """Its output can no longer be written, which must not prevent it from saving."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        words = [word for word in endless(shards, tmp_path / "run", *ranks) if word != "-q"]
        os.execve(sys.executable, words, environment())
    shown, deadline = b"", time.monotonic() + 90
    while not finished_an_epoch(tmp_path / "run"):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.05)[0]:
            shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    deadline = time.monotonic() + 60
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    assert os.waitstatus_to_exitcode(ended[1]) == 75
    assert RunFolder(tmp_path / "run").newest().progress.step > 0


@pytest.mark.parametrize("where", ["open_data", "summary"])
def test_a_signal_before_the_first_step_or_after_the_last_asks_to_start_again(
    iris, shards, tmp_path, monkeypatch, where
):
    from iris_cli.training import train

    original = getattr(train, where)

    def interrupted(*given, **named):
        signal.raise_signal(signal.SIGTERM)
        return original(*given, **named)

    monkeypatch.setattr(train, where, interrupted)
    short = ("--out", tmp_path / "run", "--epochs", 1, "-b", 4, "-q")
    ran = iris("train", shards, *short)
    assert ran.code == 75 and " stopped by a signal; start again: iris train " in ran.err.splitlines()[-1]
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert iris("train", shards, *short, "--resume").code == 0


def test_stop_signals_are_names_and_may_change_when_resumed(iris, shards, tmp_path):
    short = ("--out", tmp_path / "run", "-b", 4, "-q")
    ran = iris("train", shards, *short, "--stop-signals", "TERM,KILL")
    assert ran.code == 2 and "unknown stop_signals 'KILL'" in ran.err
    (tmp_path / "hyper.toml").write_text('stop_signals = ["SIGTERM"]\n')
    ran = iris("train", shards, *short, "--config", tmp_path / "hyper.toml")
    assert ran.code == 2 and "unknown stop_signals 'SIGTERM'" in ran.err
    assert not (tmp_path / "run").exists()
    assert iris("train", shards, *short, "--epochs", 1, "--stop-signals", "USR1").code == 0
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["stop_signals"] == ["USR1"]
    assert iris("train", shards, *short, "--epochs", 1, "--resume").code == 0


def test_a_batch_script_needs_the_signal_that_it_forwards(iris, shards, tmp_path):
    training = (shards, "--out", tmp_path / "run")
    ran = iris("batch", "train", *training, "--stop-signals", "USR1")
    assert ran.code == 2 and "as TERM, which is not among the training's stop_signals" in ran.err and not ran.out
    (tmp_path / "hyper.toml").write_text('stop_signals = ["USR1"]\n')
    assert iris("batch", "train", *training, "--config", tmp_path / "hyper.toml").code == 2
    assert iris("batch", "train", *training, "--config", tmp_path / "hyper.toml", "--stop-signals", "TERM").code == 0


@pytest.mark.slow
def test_ranks_that_are_stopped_while_they_start_ask_to_start_again(shards, tmp_path):
    """There is nothing to save yet, but a job that is pre-empted at once must be queued again."""
    blocked = tmp_path / "shards"
    shutil.copytree(shards, blocked)
    (blocked / "index.json").unlink()
    os.mkfifo(blocked / "index.json")  # reading it waits
    words = endless(blocked, tmp_path / "run", *TWO_RANKS)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    index = os.open(blocked / "index.json", os.O_WRONLY)  # returns when a rank opens it
    code, errors = end_of(process, signal.SIGUSR1)
    assert code == 75 and errors.endswith("stopped by a signal; start again\n"), errors
    os.close(index)


@pytest.mark.slow
def test_ranks_end_when_their_launcher_is_killed(shards, tmp_path):
    """Otherwise they would continue to write into a folder that the next start resumes."""
    process = start(shards, tmp_path / "run", *TWO_RANKS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    code, errors = end_of(process)
    assert code == -signal.SIGKILL and "saved in" in errors, errors
    deadline = time.monotonic() + 30
    while any(process_start(int(child)) is not None for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(children) == 2
