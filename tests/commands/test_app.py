from __future__ import annotations

import os
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


def modules_woken(*words: str) -> int:
    """How many modules a fresh Python imports for this; counted, as a busy machine's seconds say nothing."""
    ran = subprocess.run([sys.executable, "-X", "importtime", *words], check=True, capture_output=True, text=True)
    return ran.stderr.count("import time:")


def test_help_takes_little_more_than_the_library_that_prints_it() -> None:
    """0.12 s of processor time against 0.07 s where this was measured: docs/benchmarks/startup.md."""
    yardstick = modules_woken("-c", "import typer, typer.main")
    assert modules_woken("-m", "iris_cli", "--help") < 2 * yardstick
    assert modules_woken("-m", "iris_cli", "train", "--help") < 2 * yardstick


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
