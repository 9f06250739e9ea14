"""The tutorial and the how-to do what they say, line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), flags=re.M | re.S)


def text_says(page: str) -> dict[str, str]:
    """The variables that the page tells a hasty reader to export."""
    line = re.search(r"^    export (.*)$", (DOCS / page).read_text(), flags=re.M)
    assert line is not None
    return dict(word.split("=") for word in line[1].split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, and in front of the PATH an `iris` that is this one."""
    command = tmp_path / "bin/iris"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{DOCS.parent}" exec "{sys.executable}" -m iris_cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_the_tutorial_can_be_walked_through_line_by_line(folder: Path) -> None:
    environment = {**os.environ, **text_says("tutorial.md"), "PATH": f"{folder.parent}/bin:{os.environ['PATH']}",
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    script = "set -eu\n" + "".join(blocks("tutorial.md", "sh"))
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    promised = set(re.findall(r"--(?:out|figure) (\S+)", script)) | {"galaxies", "unseen", "pairs", "truth", "report"}
    assert promised <= {path.name for path in folder.iterdir()}
    assert (folder / "report/report.html").is_file()
