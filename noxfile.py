"""`nox` runs the tests and the checks; `nox -s demo` installs IRIS and runs its main job on the embedded mock."""

from __future__ import annotations

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "venv"

#: The release that the numbers in docs/benchmarks were made with; pyproject.toml says which others are allowed.
TORCH = "torch==2.13.0"


@nox.session
def demo(session: nox.Session) -> None:
    """Install, then mock galaxies -> shards -> training -> report, on two cores in under five minutes."""
    session.install(TORCH)
    session.install(".")
    session.run("iris", "demo", *(session.posargs or ["--out", "demo", "--overwrite"]))


@nox.session
def tests(session: nox.Session) -> None:
    """The tests; arguments after -- go to pytest."""
    session.install(TORCH)
    session.install("-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and who may import whom."""
    session.install(TORCH)
    session.install("-e", ".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports")
