"""`nox` runs the tests and the checks and builds the documentation.

`nox -s slow` runs what takes long, before a release: tests with many seeds, kills and several processes, then `package`
(builds and tries the sdist and the wheel) and `oldest` (the oldest libraries that pyproject.toml allows).
`nox -s pythons-3.13` tests with another Python, `nox -s gpu` checks what needs a GPU.
"""

import tarfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"  # sessions that require others
nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "venv"

#: The release that the numbers in docs/benchmarks were made with; pyproject.toml says which others are allowed.
TORCH = "torch==2.13.0"

#: The environment that sessions share which need no other. Modules are compiled when they are first imported: pip would
#: spend half a minute on all of them.
ENVIRONMENT = Path(__file__).parent / ".nox" / "environment" / "bin"
INSTALL = ("--no-compile", TORCH, "-e")

#: The tests of a file stay in one process, which makes their shared fixtures once. The order of files is kept, in which
#: long ones come early: xdist would run files of few, but long tests last, when the other process has no work.
TWO_PROCESSES = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
#: Two processes with threads of their own would wait for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@nox.session(default=False)
def environment(session: nox.Session) -> None:
    """The environment of tests, lint, docs and gpu."""
    session.install(*INSTALL, ".[dev]")


@nox.session(requires=["environment"], venv_backend="none")
def tests(session: nox.Session) -> None:
    """The tests, in two processes; arguments after -- go to pytest."""
    session.run(ENVIRONMENT / "pytest", *TWO_PROCESSES, *session.posargs, env=ONE_THREAD)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that `tests` leaves out, then the package and the oldest libraries."""
    # A server for s3://; aiobotocore knows the release of boto3 that it works with, which pip would look for long.
    session.install(*INSTALL, ".[dev]", "aiobotocore[boto3]", "moto[server]>=5.0")
    session.run("pytest", "-m", "slow", *session.posargs, env=ONE_THREAD)
    session.notify("package")
    session.notify("oldest")


@nox.session(requires=["environment"], venv_backend="none")
def gpu(session: nox.Session) -> None:
    """What needs a GPU, in at most ten minutes; `nox -s gpu -- --device cpu --quick` tries the script without one."""
    session.run(ENVIRONMENT / "python", "-m", "tests.benchmarks.gpu", *session.posargs)


@nox.session(requires=["environment"], venv_backend="none")
def lint(session: nox.Session) -> None:
    """Style, types, import rules, and the documentation."""
    session.run(ENVIRONMENT / "ruff", "format", "--check", ".")
    session.run(ENVIRONMENT / "ruff", "check", ".")
    session.run(ENVIRONMENT / "mypy")
    session.run(ENVIRONMENT / "lint-imports")
    build_docs(session)


@nox.session(requires=["environment"], venv_backend="none")
def docs(session: nox.Session) -> None:
    """The documentation, into docs/_build/html; `nox -s docs -- linkcheck` checks the links to other sites."""
    build_docs(session, *session.posargs)


def build_docs(session: nox.Session, builder: str = "html") -> None:
    """Every warning is reported, and each is an error: a link without a target, a page in no list."""
    command = ENVIRONMENT / "sphinx-build"
    session.run(command, "-j", "2", "-W", "--keep-going", "-q", "-b", builder, "docs", f"docs/_build/{builder}")


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
    session.run("iris", "mock", "standard", "-n", "1", "--preset", "tiny", "--survey", "mopra-hnco-fitted", env=home)
    session.run("iris", "observe", "standard", "0", "--survey", "mopra-hnco-fitted", "--out", "hnco.fits", env=home)
    session.run("iris", "revert", "hnco.fits", env=home)  # with the packaged network
    for built in (sdist, wheel):
        built.unlink()


@nox.session
def oldest(session: nox.Session) -> None:
    """The tests with the lowest release of everything that pyproject.toml allows (torch alone brings 5 GB)."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    bounds = [*project["dependencies"], *extras["tensorboard"], *extras["remote"]]
    testing = [
        bound for bound in extras["dev"] if bound.startswith(("pytest", "hypothesis", "reproject", "spectral-cube"))
    ]
    session.install(*(bound.split(",")[0].replace(">=", "==") for bound in bounds + testing))
    session.install("--no-deps", "-e", ".")
    session.run("pytest", *TWO_PROCESSES, *session.posargs, env=ONE_THREAD)


@nox.session(python=["3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """The tests with other Pythons, where they can be had."""
    session.install(*INSTALL, ".[dev]")
    session.run("pytest", *TWO_PROCESSES, *session.posargs, env=ONE_THREAD)
