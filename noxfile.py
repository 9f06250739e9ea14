"""`nox` runs the tests and the checks; `nox -s demo` installs IRIS and runs its main job on the embedded mock.

`nox -s slow` runs what takes long, before a release: tests with many seeds, kills and several processes, then `package`
(builds and tries the sdist and the wheel) and `oldest` (the oldest libraries that pyproject.toml allows).
`nox -s pythons-3.13` tests with another Python.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "venv"

#: The release that the numbers in docs/benchmarks were made with; pyproject.toml says which others are allowed.
TORCH = "torch==2.13.0"

#: The tests of a file stay in one process, which makes their shared fixtures once.
TWO_PROCESSES = ("-n", "2", "--dist", "loadfile")
#: Two processes with threads of their own would wait for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@nox.session
def demo(session: nox.Session) -> None:
    """Install, then mock galaxies -> shards -> training -> report, on two cores in under five minutes."""
    session.install(TORCH)
    session.install(".")
    session.run("iris", "demo", *(session.posargs or ["--out", "demo", "--overwrite"]))


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, in two processes; arguments after -- go to pytest."""
    session.install(TORCH)
    session.install("-e", ".[dev]")
    session.run("pytest", *TWO_PROCESSES, *session.posargs, env=ONE_THREAD)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that `tests` leaves out, then the package and the oldest libraries."""
    session.install(TORCH)
    session.install("-e", ".[dev]")
    session.run("pytest", "-m", "slow", *session.posargs, env=ONE_THREAD)
    session.notify("package")
    session.notify("oldest")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and who may import whom."""
    session.install(TORCH)
    session.install("-e", ".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel; the wheel works in an environment with an empty home, away from the sources."""
    folder = Path(session.create_tmp()).resolve()
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(folder), ".")
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    if missing := {"LICENSE", "CITATION.cff", "README.md", "noxfile.py", "docs/index.md", "tests/conftest.py"} - names:
        session.error(f"{sdist.name} lacks {', '.join(sorted(missing))}")
    session.install(TORCH, str(wheel))
    session.chdir(folder)
    home = {"HOME": str(folder)}
    session.run("iris", "--help", env=home)
    session.run("iris", "doctor", env=home)
    session.run("iris", "mock", "standard", "-n", "2", env=home)
    for built in (sdist, wheel):
        built.unlink()


@nox.session
def oldest(session: nox.Session) -> None:
    """The tests with the lowest release of everything that pyproject.toml allows (torch alone brings 5 GB)."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    bounds = [*project["dependencies"], *extras["tensorboard"]]
    testing = [
        bound for bound in extras["dev"] if bound.startswith(("pytest", "hypothesis", "reproject", "spectral-cube"))
    ]
    session.install(*(bound.split(",")[0].replace(">=", "==") for bound in bounds + testing))
    session.install("--no-deps", "-e", ".")
    session.run("pytest", *TWO_PROCESSES, *session.posargs, env=ONE_THREAD)


@nox.session(python=["3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """The tests with other Pythons, where they can be had."""
    session.install(TORCH)
    session.install("-e", ".[dev]")
    session.run("pytest", *TWO_PROCESSES, *session.posargs, env=ONE_THREAD)
