"""The tutorial and the first ten minutes in a real shell; test_pages.py runs their commands in this process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), flags=re.M | re.S)


def exported(page: str) -> dict[str, str]:
    """The variables that the page exports for a quick run."""
    line = re.search(r"^    export (.*)$", (DOCS / page).read_text(), flags=re.M)
    assert line is not None
    return dict(word.split("=") for word in line[1].split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, and beside it a command `iris` that runs this checkout."""
    command = tmp_path / "bin/iris"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{DOCS.parent}" exec "{sys.executable}" -m iris_cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def new_environment(folder: Path) -> dict[str, str]:
    """`iris` on the path, and an empty home folder."""
    path = f"{folder.parent}/bin:{os.environ['PATH']}"
    return {**os.environ, "HOME": str(folder.parent), "PATH": path, "OMP_NUM_THREADS": "1"}


def test_the_tutorial_runs_in_a_shell(folder: Path) -> None:
    environment = new_environment(folder) | exported("tutorial.md")
    script = "set -eu\n" + "".join(blocks("tutorial.md", "sh"))
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    promised = set(re.findall(r"--(?:out|figure) (\S+)", script)) | {"unseen", "pairs", "truth", "report"}
    assert promised <= {path.name for path in folder.iterdir()}
    assert (folder / "report/report.html").is_file()


def test_the_first_ten_minutes_run_in_a_shell(folder: Path) -> None:
    """Without the demonstration itself, which has its own test, and what needs a user's own folder."""
    page = (DOCS / "first_ten_minutes.md").read_text()
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    kept = [line for line in lines if not line.startswith("iris demo") and "their_folder" not in line]
    assert len(lines) - len(kept) == 2
    script = "\n".join(["set -eu", *kept]).replace("--galaxies 200", "--galaxies 12")
    path = f"{folder.parent}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**new_environment(folder), "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr and "(1, 64, 64) (1, 64, 64)" in done.stdout
    named = set(re.findall(r"`(\w+)/(?:\w+\.\w+)?`", page)) | {"run2", "pair.png", "losses.png"}
    assert named - {path.name for path in folder.iterdir()} == {"demo"}
