"""What many tests use: the command line in this process, the reference data, small mock data sets."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from iris_cli.app import main
from iris_cli.console import LOG_EVERY, QUIET, VERBOSE

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def iris(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`iris("mock", folder, "-n", 2)` runs a command as the console script would and returns what it said."""

    def run(*words: object) -> Ran:
        for name in (LOG_EVERY, QUIET, VERBOSE):  # options set them; afterwards they are what they were
            monkeypatch.setenv(name, "")
        monkeypatch.setattr("sys.argv", ["iris", *map(str, words)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        said = capfd.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def hangups_are_heard() -> Iterator[None]:
    """Also where the tests themselves were started with `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real and reference data that lie beside the project, not in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no reference data at {SHARED_DATA}")
    return SHARED_DATA
