"""The tutorial and the first ten minutes in a real shell; test_pages.py runs their commands in this process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.pages import blocks

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def folder(tmp_path):
    """An empty folder, and beside it a command `iris` that runs this checkout."""
    command = tmp_path / "bin/iris"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{DOCS.parent}" exec "{sys.executable}" -m iris_cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def run(script, folder, **variables):
    """What a shell prints that runs a script in the folder, with an empty home folder."""
    path = f"{folder.parent}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(folder.parent), "PATH": path, "OMP_NUM_THREADS": "1", **variables}
    words = ["bash", "-c", f"set -eu\n{script}"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    return done.stdout


def test_the_tutorial_runs_in_a_shell(folder):
    page = (DOCS / "tutorial.md").read_text()
    script = "".join(blocks("tutorial.md", "sh"))
    (quick,) = re.findall(r"^    export (.*)$", page, flags=re.M)  # variables for a quick run
    run(script, folder, **dict(word.split("=") for word in quick.split()))
    promised = set(re.findall(r"--(?:out|figure) (\S+)", script)) | {"unseen", "pairs", "truth", "report"}
    assert promised <= {path.name for path in folder.iterdir()}
    assert (folder / "report/report.html").is_file()


def test_the_first_ten_minutes_run_in_a_shell(folder):
    """Without the demonstration itself, which has its own test, and what needs a user's own folder."""
    page = (DOCS / "first_ten_minutes.md").read_text()
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    kept = [line for line in lines if not line.startswith("iris demo") and "their_folder" not in line]
    assert len(lines) - len(kept) == 2
    assert "(1, 64, 64) (1, 64, 64)" in run("\n".join(kept).replace("--galaxies 200", "--galaxies 12"), folder)
    named = set(re.findall(r"`(\w+)/(?:\w+\.\w+)?`", page)) | {"run2", "pair.png", "losses.png"}
    assert named - {path.name for path in folder.iterdir()} == {"demo"}
