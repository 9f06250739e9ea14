"""The program as a whole: help, completion, exit codes, closed streams and interruptions."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import iris_cli
from iris_cli.commands.help import COMMON
from tests.commands.errors import one_error
from tests.commands.pages import COMMANDS

#: Each costs more time than everything else that a help page needs.
HEAVY = {"torch", "webdataset", "numpy", "scipy", "astropy", "matplotlib", "numba", "rich", "pydantic"}


def test_help_imports_no_heavy_library():
    pages = [[], *(name.split() for name in COMMANDS)]
    code = (
        "import sys\n"
        "from iris_cli.app import program\n"
        f"for words in {pages!r}:\n"
        "    program()([*words, '--help'], standalone_mode=False)\n"
        f"    print(words, sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines() == [f"{words} []" for words in pages]


def imported_modules(*words):
    """How many modules a new Python imports; a count, since the seconds of a busy machine say little."""
    ran = subprocess.run([sys.executable, "-X", "importtime", *words], check=True, capture_output=True, text=True)
    return ran.stderr.count("import time:")


def test_help_imports_less_than_twice_what_typer_imports():
    """Seconds are in docs/benchmarks/startup.md."""
    typer_alone = imported_modules("-c", "import typer, typer.main")
    assert imported_modules("-m", "iris_cli", "train", "--help") < 2 * typer_alone


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_usage_line_groups_of_options_and_examples(iris, name):
    out = iris(*name.split(), "--help").out
    assert f"iris {name} [OPTIONS]" in out and f"\n{COMMON}:\n" in out
    examples = out.partition("\nExamples:\n")[2].splitlines()
    assert 1 <= len(examples) <= 4 and all(line.startswith("  iris ") and len(line) <= 80 for line in examples)


def test_the_program_lists_all_commands_and_prints_its_version(iris):
    out = iris("--help").out
    assert all(f"\n  {name.split()[0]} " in out for name in COMMANDS)
    assert iris("--version").out.strip() == f"iris {iris_cli.__version__}"
    lines = iris("--version", "--verbose").out.splitlines()
    assert lines[:-1] == iris("-v", "--version").out.splitlines()[:-1]  # the last is the free memory
    assert lines[0].startswith(f"iris       {iris_cli.__version__}, in ")
    text = "\n".join(lines)
    names = ("python", "torch", "numba", "numpy", "webdataset", "astropy", "cores", "memory", sys.executable)
    assert [name for name in names if name not in text] == []
    for words in (("--verbose",), ("-v", "runs"), ("--",)):
        one_error(iris(*words), 2, "no command was named first")


def test_unknown_words_are_usage_errors(iris):
    assert iris("observ").code == iris("mock", "--galaxi", 3).code == iris("config", "show", "nowhere.toml").code == 2
    ran, message = (
        iris("config", "show", "tine"),
        "there is no configuration, preset or survey 'tine', and no such file",
    )
    assert ran.code == 2 and ran.err == f"error: {message}\nhint: did you mean 'tiny'?\n"


def shell(line):
    environment = {**os.environ, "IRIS": f"{sys.executable} -m iris_cli", "PYTHONUNBUFFERED": ""}
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("command", "into", "why"),
    [
        ("--version", ">&-", "standard output is closed"),
        ("molecule --help", ">/dev/full", "No space left"),
        ("config show train --json", ">/dev/full", "No space left"),
    ],
)
def test_a_result_that_cannot_be_written_is_a_failure(command, into, why):
    if "full" in into and not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    ran = shell(f"$IRIS {command} {into}")
    assert ran.returncode == 1 and ran.stdout == "" and len(ran.stderr.splitlines()) == 2, ran
    assert f"error: the result cannot be written: {why}" in ran.stderr


def test_the_number_of_a_closed_stream_is_not_given_to_the_next_file(tmp_path):
    ran = shell(f"$IRIS mock {tmp_path / 'standard'} -n 1 -q >&- 2>&-")
    assert ran.returncode == 1 and (ran.stdout, ran.stderr) == ("", "")
    names = sorted(path.name for path in (tmp_path / "standard").iterdir())
    assert names == ["commands.jsonl", "standard.json", "tensor_000000.npy"]
    json.loads((tmp_path / "standard" / "standard.json").read_text())
    ran = shell(f"$IRIS shards info {tmp_path} 2>&-")
    assert ran.returncode == 1 and ran.stdout == "", "messages for stderr do not go to stdout instead"
    assert "contains no path" in shell("$IRIS config validate - <&-").stderr


def test_a_reader_that_closes_the_pipe_causes_no_message():
    ran = shell("$IRIS config show train --json | true")
    assert ran.returncode == 0 and ran.stderr == ""


def test_an_interruption_is_one_error_and_leaves_nothing(tmp_path):
    handler = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's & ignores it
    main = "from iris_cli.app import main; main()"
    line = [sys.executable, "-c", handler + main, "mock", tmp_path / "standard", "-n", "1000", "--log-every", "0.1"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None and "mock galaxies" in running.stderr.readline()  # it has started
        running.send_signal(signal.SIGINT)
        err = running.stderr.read()
    assert running.returncode == 130 and "error: interrupted" in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
