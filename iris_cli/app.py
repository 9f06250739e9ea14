"""The command line: one file per command in `commands/`; here they meet, and here an error becomes one line."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from iris_cli import __version__
from iris_cli.commands.config import app as config
from iris_cli.commands.cube import cube
from iris_cli.commands.demo import demo
from iris_cli.commands.doctor import doctor
from iris_cli.commands.evaluate import evaluate
from iris_cli.commands.import_checkpoint import import_checkpoint
from iris_cli.commands.ingest import ingest
from iris_cli.commands.mock import mock
from iris_cli.commands.molecule import molecule
from iris_cli.commands.observe import observe
from iris_cli.commands.plot import app as plot
from iris_cli.commands.preobserve import preobserve
from iris_cli.commands.revert import revert
from iris_cli.commands.shards import app as shards
from iris_cli.commands.slurm import app as slurm
from iris_cli.commands.train import TrainCommand, train
from iris_cli.console import guard_streams, verbose
from iris_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, IrisError
from iris_cli.signals import reported_by_another_rank
from shards.errors import ShardError

#: What the user mends on the disk, not in the program.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EPERM)


class _Flags(TyperGroup):
    """Iris's own options are flags. One that nobody gave is False: typer would wake pydantic for its None."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)
        for flag in params:
            flag.default = False if flag.default is None else flag.default
        return params


app = typer.Typer(
    name="iris",
    cls=_Flags,
    help="Turn an edge-on observation of the Galaxy's centre into the view from above.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich leaves an option's help a quarter of an 80-column line, and doubles the start
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"iris {__version__}")
        raise typer.Exit


@app.callback()
def iris(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(demo)
app.command()(ingest)
app.command()(mock)
app.command()(molecule)
app.command()(observe)
app.command()(preobserve)
app.command(cls=TrainCommand)(train)
app.command("test")(evaluate)
app.command()(doctor)
app.add_typer(plot, name="plot")
app.command()(cube)
app.command()(revert)
app.command("import-checkpoint")(import_checkpoint)
app.add_typer(shards, name="shards")
app.add_typer(config, name="config")
app.add_typer(slurm, name="slurm")


def main() -> None:
    """Run a command. An error that the user can mend is one red line and a hint, never a traceback."""
    try:
        guard_streams()
        _run()
    except IrisError as error:
        _fail(error.message, error.hint, error.exit_code)
    except ShardError as error:
        _fail(error.message, error.hint, EXIT_FAILURE)
    except KeyboardInterrupt:
        _fail("interrupted", "run it again, with --resume where the command has that", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; say nothing at exit
        sys.exit(EXIT_FAILURE)
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        first = str(error).strip().partition("\n")[0]
        hint = "take a smaller --batch-size or fewer --workers; --dry-run says what is needed"
        _fail(f"not enough memory{f': {first}' if first else ''}", hint, EXIT_FAILURE)
    except OSError as error:
        full = error.errno is None and " requested and " in str(error.args)  # so numpy, and astropy above it, say it
        if not full and error.errno not in _OF_THE_DISK:
            raise
        where = f": {error.filename}" if error.filename else ""
        what = os.strerror(errno.ENOSPC) if full else error.strerror
        _fail(f"{what}{where}", "nothing half-written was left; free space or permissions, then run again", 1)


def _lacks_memory(error: Exception) -> bool:
    """Python's and numpy's error, or torch's, of a GPU or the machine: torch need not be woken to know them."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _run() -> None:
    """The command, and then what of its result still waits in a buffer: later nobody would hear that it was lost."""
    try:
        app()
    except SystemExit as end:
        sys.stdout.flush()
        if end.code == EXIT_INTERRUPTED:  # typer's, which says nothing
            raise KeyboardInterrupt from None
        raise


def _fail(message: str, hint: str, code: int) -> None:
    if verbose():
        traceback.print_exc()
    if reported_by_another_rank(message):
        sys.exit(code)
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}error:{plain} {message}{f' ({hint})' if hint else ''}", file=sys.stderr)
    sys.exit(code)
