"""Which signals make a training save and stop, alone and with ranks, and what the others do."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from iris_cli.training.run_folder import RunFolder
from tests.training.makers import write_pairs

ROOT = Path(__file__).resolve().parents[2]
ALONE, TWO = (), ("--nproc-per-node", "2")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="signals and terminals as Linux has them"),
    pytest.mark.usefixtures("hangups_are_heard"),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "shards", {"train": range(13), "validation": range(100, 105)})


def words(shards: Path, run: Path, *more: str) -> list[str]:
    short = ("--epochs", "1000", "--batch-size", "2", "--accumulate", "2")
    return [sys.executable, "-m", "iris_cli", "train", str(shards), "--out", str(run), *short, *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"}


def has_begun(run: Path) -> bool:
    """Whether the first epoch is over."""
    metrics = run / "metrics.jsonl"
    return metrics.exists() and '"epoch", ' in metrics.read_text()


def start(shards: Path, run: Path, *more: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [*before, *words(shards, run, "-q", *more)], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    )
    end = time.monotonic() + 90
    while not has_begun(run):
        assert started.poll() is None and time.monotonic() < end, started.communicate()
        time.sleep(0.05)
    return started


def ended(started: subprocess.Popen[str]) -> tuple[int, str]:
    said = started.communicate(timeout=60)[1]
    return started.returncode, said


@pytest.mark.parametrize(
    ("ranks", "asked", "sent"),
    [
        (ALONE, "term,SIGXCPU", signal.SIGXCPU),
        (TWO, "term,SIGXCPU", signal.SIGXCPU),
        (ALONE, "", signal.SIGINT),
    ],
)
def test_a_signal_that_was_asked_for_saves(
    shards: Path, tmp_path: Path, ranks: tuple[str, ...], asked: str, sent: signal.Signals
) -> None:
    started = start(shards, tmp_path / "run", "--stop-signals", asked, *ranks)
    started.send_signal(sent)
    code, said = ended(started)
    assert code == 75 and "saved in" in said and "Traceback" not in said, said
    assert RunFolder(tmp_path / "run").newest().progress.step > 0


@pytest.mark.parametrize(("ranks", "code"), [(ALONE, -signal.SIGUSR1), (TWO, 130)])
def test_a_signal_that_was_left_out_ends_a_run_at_once(
    shards: Path, tmp_path: Path, ranks: tuple[str, ...], code: int
) -> None:
    started = start(shards, tmp_path / "run", "--stop-signals", "TERM", *ranks)
    started.send_signal(signal.SIGUSR1)
    was, said = ended(started)
    assert was == code and "saved" not in said, said


@pytest.mark.parametrize("ranks", [ALONE, TWO])
def test_nohup_keeps_a_run_from_hearing_that_its_terminal_closed(
    shards: Path, tmp_path: Path, ranks: tuple[str, ...]
) -> None:
    if ranks and "--signals-to-handle" not in _torchrun_s_options():
        pytest.skip("this torchrun hears SIGHUP whatever it is told")
    started = start(shards, tmp_path / "run", *ranks, before=["nohup"])
    started.send_signal(signal.SIGHUP)
    time.sleep(1.5)
    assert started.poll() is None
    started.send_signal(signal.SIGTERM)
    code, said = ended(started)
    assert code == 75 and "saved in" in said, said


def _torchrun_s_options() -> str:
    from torch.distributed.run import get_args_parser

    return get_args_parser().format_help()


@pytest.mark.parametrize("ranks", [ALONE, TWO])
def test_a_terminal_that_closes_leaves_a_saved_run(shards: Path, tmp_path: Path, ranks: tuple[str, ...]) -> None:
    """The words of a run whose terminal has gone cannot be written any more: that must not keep it from saving."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, words(shards, tmp_path / "run", *ranks), environment())
    shown, end = b"", time.monotonic() + 90
    while not has_begun(tmp_path / "run"):
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 0.05)[0]:
            shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(_end_of(process)) == 75
    assert RunFolder(tmp_path / "run").newest().progress.step > 0


def _end_of(process: int) -> int:
    end = time.monotonic() + 60
    while not (found := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    return found[1]


@pytest.mark.parametrize("where", ["open_data", "summary"])
def test_a_signal_before_the_first_step_or_after_the_last_asks_to_start_again(
    iris: Callable, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from iris_cli.training import train

    usual = getattr(train, where)

    def disturbed(*given: object, **named: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return usual(*given, **named)

    monkeypatch.setattr(train, where, disturbed)
    short = ("--out", tmp_path / "run", "--epochs", 1, "-b", 4, "-q")
    ran = iris("train", shards, *short)
    assert ran.code == 75 and ran.err.endswith(" stopped by a signal; start again with --resume\n")
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert iris("train", shards, *short, "--resume").code == 0


def test_signals_are_known_by_name_and_may_differ_when_a_run_goes_on(
    iris: Callable, shards: Path, tmp_path: Path
) -> None:
    short = ("--out", tmp_path / "run", "-b", 4, "-q")
    ran = iris("train", shards, *short, "--stop-signals", "TERM,KILL")
    assert ran.code == 2 and "unknown stop_signals 'KILL'" in ran.err
    (tmp_path / "hyper.toml").write_text('stop_signals = ["SIGTERM"]\n')
    ran = iris("train", shards, *short, "--config", tmp_path / "hyper.toml")
    assert ran.code == 2 and "stop_signals = 'SIGTERM'" in ran.err
    assert not (tmp_path / "run").exists()
    assert iris("train", shards, *short, "--epochs", 1, "--stop-signals", "USR1").code == 0
    written = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert written["stop_signals"] == ["USR1"]
    assert iris("train", shards, *short, "--epochs", 2, "--resume").code == 0


def test_a_batch_script_needs_the_signal_that_it_passes_on(iris: Callable, shards: Path, tmp_path: Path) -> None:
    training = (shards, "--out", tmp_path / "run")
    ran = iris("slurm", "train", *training, "--stop-signals", "USR1")
    assert ran.code == 2 and "as TERM, which is not among the training's stop_signals" in ran.err and not ran.out
    (tmp_path / "hyper.toml").write_text('stop_signals = ["USR1"]\n')
    assert iris("slurm", "train", *training, "--config", tmp_path / "hyper.toml").code == 2
    assert iris("slurm", "train", *training, "--config", tmp_path / "hyper.toml", "--stop-signals", "TERM").code == 0


def test_ranks_that_are_stopped_while_they_start_start_again(shards: Path, tmp_path: Path) -> None:
    """Nothing is to save yet; but a job that is pre-empted at once must not be lost either."""
    held = tmp_path / "shards"
    shutil.copytree(shards, held)
    (held / "index.json").unlink()
    os.mkfifo(held / "index.json")  # whoever opens it waits
    started = subprocess.Popen(
        words(held, tmp_path / "run", *TWO), stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    )
    index = os.open(held / "index.json", os.O_WRONLY)  # as soon as a rank wants to read it
    started.send_signal(signal.SIGUSR1)
    code, said = ended(started)
    assert code == 75 and said.endswith("stopped by a signal; start again\n"), said
    os.close(index)


def test_what_all_ranks_meet_is_told_once(shards: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        words(shards, tmp_path / "run", "--network", "papr", *TWO),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=60,
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == ["error: unknown network 'papr'", "hint: did you mean 'paper'?"]


def test_ranks_end_when_their_launcher_is_killed(shards: Path, tmp_path: Path) -> None:
    """Else they would go on writing into a folder that the next start takes up."""
    started = start(shards, tmp_path / "run", *TWO)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    started.kill()
    code, said = ended(started)  # standard error is at its end when the ranks are
    assert code == -signal.SIGKILL and "saved in" in said, said
    end = time.monotonic() + 30
    while any(_is_alive(child) for child in children):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(children) == 2


def _is_alive(process: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
