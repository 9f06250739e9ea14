"""The tutorial and the how-to do what they say, line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.toml import from_dict, read_toml

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


def of_a_newcomer(folder: Path) -> dict[str, str]:
    """`iris` on the path, and nothing kept from earlier in the home folder."""
    path = f"{folder.parent}/bin:{os.environ['PATH']}"
    return {**os.environ, "HOME": str(folder.parent), "PATH": path, "OMP_NUM_THREADS": "1"}


def test_the_tutorial_can_be_walked_through_line_by_line(folder: Path) -> None:
    environment = of_a_newcomer(folder) | text_says("tutorial.md")
    script = "set -eu\n" + "".join(blocks("tutorial.md", "sh"))
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    promised = set(re.findall(r"--(?:out|figure) (\S+)", script)) | {"galaxies", "unseen", "pairs", "truth", "report"}
    assert promised <= {path.name for path in folder.iterdir()}
    assert (folder / "report/report.html").is_file()


def test_the_programs_of_the_how_to_run_one_after_the_other(folder: Path) -> None:
    made = subprocess.run(
        ["bash", "-c", "iris mock galaxies -n 12 -q && iris preobserve galaxies pairs --test-fraction 0.1 -q"],
        cwd=folder,
        env=of_a_newcomer(folder),
        capture_output=True,
    )
    assert made.returncode == 0
    programs = "\n".join(blocks("howto.md", "python")).replace("epochs=2", "epochs=1")
    done = subprocess.run(
        [sys.executable, "-c", programs],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(DOCS.parent), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loss, shapes = done.stdout.strip().splitlines()
    assert 0.0 < float(loss) < 10.0
    assert shapes == "torch.Size([8, 1, 64, 64]) torch.Size([8, 1, 64, 64])"


def test_the_line_of_the_how_to_is_a_configuration(folder: Path) -> None:
    (text,) = blocks("howto.md", "toml")
    (folder / "hcn.toml").write_text(text)
    config = from_dict(PreobserveConfig, read_toml(folder / "hcn.toml"), "hcn.toml")
    assert config.synthetic.lines[0].tracer_per_CO == 2e-4
    assert config.synthetic.beam_fwhm_arcsec == 27.0


def test_the_first_ten_minutes_run_after_the_demonstration(folder: Path) -> None:
    """The demonstration itself, which has a test of its own, and what needs a folder of one's own are left out."""
    page = (DOCS / "first_ten_minutes.md").read_text()
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    kept = [line for line in lines if not line.startswith(("pip install", "iris demo")) and "their_folder" not in line]
    assert len(lines) - len(kept) == 3
    script = "\n".join(["set -eu", "iris mock demo/standard -n 12 -q", *kept])
    path = f"{folder.parent}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**of_a_newcomer(folder), "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr and "(1, 64, 64) (1, 64, 64)" in done.stdout
    named = set(re.findall(r"`(\w+)/(?:\w+\.\w+)?`", page)) | {"run2", "pair.png", "losses.png"}
    assert named - {path.name for path in folder.iterdir()} == set()
