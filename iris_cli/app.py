"""The command line: registers the commands of `commands/`, and prints an error as one line and a hint."""

import os
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

from iris_cli import __version__
from iris_cli.commands.batch import app as batch
from iris_cli.commands.compare import compare
from iris_cli.commands.compare_sky import compare_sky
from iris_cli.commands.config import app as config
from iris_cli.commands.cube import cube
from iris_cli.commands.demo import demo
from iris_cli.commands.doctor import about, doctor
from iris_cli.commands.evaluate import evaluate
from iris_cli.commands.export import export
from iris_cli.commands.help import Command, Group
from iris_cli.commands.import_checkpoint import import_checkpoint
from iris_cli.commands.ingest import ingest
from iris_cli.commands.mock import mock
from iris_cli.commands.molecule import molecule
from iris_cli.commands.observe import observe
from iris_cli.commands.plot import app as plot
from iris_cli.commands.preobserve import preobserve
from iris_cli.commands.revert import revert
from iris_cli.commands.runs import runs
from iris_cli.commands.shards import app as shards
from iris_cli.commands.surveys import surveys
from iris_cli.commands.sweep import sweep
from iris_cli.commands.train import TrainCommand, train
from iris_cli.commands.view import view
from iris_cli.console import guard_streams, say, say_error, verbose
from iris_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, IrisError, UsageError, of_system
from iris_cli.machine import address_space_limit, in_bytes
from iris_cli.signals import reported_by_another_rank
from shards.errors import ShardError

#: Bytes of addresses that a command needs which imports torch, and commands that do not.
LIGHT = ("config", "doctor", "molecule", "runs", "shards", "batch", "surveys", "--version")
LEAST_ADDRESS_SPACE = 1_200_000_000

#: Groups of commands in `iris --help`.
DATA, TRAINING, TELESCOPE, TOOLS = "Data sets", "Training", "Telescope data", "Figures and tools"


app = typer.Typer(
    name="iris",
    cls=Group,
    help="Turn an edge-on observation of the Galaxy's centre into the view from above.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def iris(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    details: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --version: what the report of a bug should hold.")
    ] = False,
) -> None:
    if version:
        say(*(about() if details else [f"iris {__version__}"]))
        raise typer.Exit
    if details or context.invoked_subcommand is None:
        raise UsageError("no command was named first", "iris --help lists them; options of a command follow its name")


def _add(panel: str, *commands: Callable[..., None], name: str | None = None, cls: type[Command] = Command) -> None:
    for command in commands:
        app.command(name, cls=cls, rich_help_panel=panel)(command)


_add(DATA, mock, ingest, preobserve, observe)
app.add_typer(shards, name="shards", rich_help_panel=DATA)
_add(TRAINING, train, cls=TrainCommand)
_add(TRAINING, evaluate, name="test")
_add(TRAINING, sweep, runs, compare)
_add(TRAINING, export)
_add(TRAINING, import_checkpoint, name="import-checkpoint")
app.add_typer(batch, name="batch", rich_help_panel=TRAINING)
_add(TELESCOPE, cube)
_add(TELESCOPE, compare_sky, name="compare-sky")
_add(TELESCOPE, revert)
_add(TOOLS, demo)
app.add_typer(plot, name="plot", rich_help_panel=TOOLS)
_add(TOOLS, view)
_add(TOOLS, molecule, surveys)
app.add_typer(config, name="config", rich_help_panel=TOOLS)
_add(TOOLS, doctor)


@cache
def program() -> Any:
    """click's group of all commands; typer needs 50 ms to make it."""
    return get_command(app)


def main() -> None:
    """Runs a command. An error that the user can fix is one red line and a hint, without a traceback."""
    try:
        guard_streams()
        _run()
    except IrisError as error:
        _fail(error.message, error.hint, error.exit_code)
    except ShardError as error:
        _fail(error.message, error.hint, EXIT_FAILURE)
    except KeyboardInterrupt:
        _fail("interrupted", "run it again, with --resume where the command has it", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python prints nothing at exit
        sys.exit(EXIT_FAILURE)
    except Exception as error:
        if (known := of_system(error)) is None:
            raise
        _fail(known.message, known.hint, known.exit_code)


def _check_address_space(words: list[str]) -> None:
    """IrisError where `ulimit -v` leaves no room for torch and scipy: the latter's OpenBLAS would wait forever."""
    limit = address_space_limit()
    if limit is None or limit >= LEAST_ADDRESS_SPACE or not words or words[0] in LIGHT or {"-h", "--help"} & {*words}:
        return
    what = (
        f"not enough memory: ulimit -v allows {in_bytes(limit)}, and torch alone takes {in_bytes(LEAST_ADDRESS_SPACE)}"
    )
    raise IrisError(what, "raise the limit: ulimit -v unlimited, or more memory for the job")


def _run() -> None:
    """Runs the command and flushes its result, so that a failed write is still reported."""
    _check_address_space(sys.argv[1:])
    try:
        program()(prog_name="iris")
    except SystemExit as end:
        sys.stdout.flush()
        if end.code == EXIT_INTERRUPTED:  # typer's, which prints nothing
            raise KeyboardInterrupt from None
        raise


def _fail(message: str, hint: str, code: int) -> None:
    if verbose():
        traceback.print_exc()
    if reported_by_another_rank(message):
        sys.exit(code)
    say_error(message, hint)
    sys.exit(code)
