from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable

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


def cpu_seconds(*words: str) -> float:
    """The least of three, of a fresh Python; of processor time, as the machine may be busy."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(3))


def test_help_takes_little_more_than_the_library_that_prints_it() -> None:
    """0.12 s against 0.07 s where this was measured; 0.36 s before help was plain text."""
    yardstick = cpu_seconds("-c", "import typer, typer.main")
    assert cpu_seconds("-m", "iris_cli", "--help") < 3 * yardstick
    assert cpu_seconds("-m", "iris_cli", "train", "--help") < 3 * yardstick


@pytest.mark.parametrize(("typed", "offered"), [("iris tr", "train"), ("iris shards ver", "verify"),
                                                ("iris preobserve --litt", "--litter")])  # fmt: skip
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
