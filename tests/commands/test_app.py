from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

import iris_cli
from iris_cli.app import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


#: Each costs more than everything else that a help page needs.
HEAVY = {"torch", "webdataset", "numpy", "scipy", "astropy", "matplotlib", "numba", "rich", "pydantic"}


@pytest.mark.parametrize("words", [(), *((command,) for command in COMMANDS)], ids=" ".join)
def test_help_wakes_no_heavy_library(words: tuple[str, ...]) -> None:
    code = (
        f"import sys; sys.argv = ['iris', *{words!r}, '--help']\n"
        "from iris_cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"
    for command in COMMANDS if not words else ():
        assert f"\n  {command} " in ran.stdout


def modules_woken(*words: str) -> int:
    """How many modules a fresh Python imports for this; counted, as a busy machine's seconds say nothing."""
    ran = subprocess.run([sys.executable, "-X", "importtime", *words], check=True, capture_output=True, text=True)
    return ran.stderr.count("import time:")


def test_help_takes_little_more_than_the_library_that_prints_it() -> None:
    """0.12 s of processor time against 0.07 s where this was measured: docs/benchmarks/startup.md."""
    yardstick = modules_woken("-c", "import typer, typer.main")
    assert modules_woken("-m", "iris_cli", "--help") < 2 * yardstick
    assert modules_woken("-m", "iris_cli", "train", "--help") < 2 * yardstick


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("iris tr", "train"),
        ("iris shards ver", "verify"),
        ("iris preobserve --litt", "--litter"),
        ("iris plot lv --colo", "--colours"),
        ("iris slurm train --part", "--partition"),
    ],
)
def test_a_shell_can_complete_commands_and_options(typed: str, offered: str) -> None:
    code = "import sys; sys.argv = ['iris']\nfrom iris_cli.app import main\nmain()"
    asked = {"_IRIS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked})
    assert ran.stdout.split() == [offered], ran


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(iris: Callable, command: str) -> None:
    ran = iris(command, "--help")
    assert ran.code == 0 and "Usage:" in ran.out


def test_the_version_is_told(iris: Callable) -> None:
    assert iris("--version").out.strip() == f"iris {iris_cli.__version__}"


def test_an_unknown_command_or_option_is_a_usage_error(iris: Callable) -> None:
    assert iris("observ").code == 2
    assert iris("mock", "--galaxi", 3).code == 2


def test_a_closed_pipe_is_no_error_message() -> None:
    command = [sys.executable, "-m", "iris_cli", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert "Traceback" not in said and "BrokenPipe" not in said


def shell(line: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IRIS": f"{sys.executable} -m iris_cli", "PYTHONUNBUFFERED": ""}
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("command", ["--version", "molecule --help", "config show", "config show train --json"])
@pytest.mark.parametrize(("into", "why"), [(">&-", "standard output is closed"), (">/dev/full", "No space left")])
def test_a_result_that_cannot_be_written_is_a_failure_in_one_line(command: str, into: str, why: str) -> None:
    if "full" in into and not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    ran = shell(f"$IRIS {command} {into}")
    assert ran.returncode == 1 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1, ran
    assert f"error: the result cannot be written: {why}" in ran.stderr


def test_a_closed_stream_is_not_taken_for_a_file(tmp_path: Path) -> None:
    """The next file to be opened would get its number, and take in what is printed."""
    ran = shell(f"$IRIS mock {tmp_path / 'standard'} -n 1 -q >&- 2>&-")
    assert ran.returncode == 1 and (ran.stdout, ran.stderr) == ("", "")
    assert sorted(path.name for path in (tmp_path / "standard").iterdir()) == [
        "commands.jsonl",
        "standard.json",
        "tensor_000000.npy",
    ]
    json.loads((tmp_path / "standard" / "standard.json").read_text())
    told = shell(f"$IRIS shards info {tmp_path} 2>&-")
    assert told.returncode == 1 and told.stdout == "", "what belongs to stderr does not go to stdout instead"
    assert "names no path" in shell("$IRIS config validate - <&-").stderr


def test_a_reader_who_has_gone_is_not_complained_of() -> None:
    ran = shell("$IRIS config show train --json | true")
    assert ran.returncode == 0 and ran.stderr == ""


def test_an_interruption_is_told_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's & turns it off
    main = "from iris_cli.app import main; main()"
    line = [sys.executable, "-c", heard + main, "mock", tmp_path / "standard", "-n", "1000", "--log-every", "0.1"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None and "mock galaxies" in running.stderr.readline()  # it is at work
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
    assert running.returncode == 130 and "error: interrupted" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
