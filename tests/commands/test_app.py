from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.main import get_command

import iris_cli
from iris_cli.app import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def test_help_wakes_no_heavy_library() -> None:
    code = (
        "import sys; sys.argv = ['iris', '--help']\n"
        "from iris_cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'webdataset', 'scipy', 'astropy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"
    for command in COMMANDS:
        assert command in ran.stdout


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
