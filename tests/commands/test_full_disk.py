"""Errors of the system, such as a full disk: one line that names the file, and no part of a file is left."""

import errno
import io
import os

import pytest
import torch

from iris_cli import errors
from iris_cli.plots.style import FORMATS
from shards import layout
from tests.commands.errors import error_of

#: A command with RUN, SHARDS … for inputs, and the output that its error names.
COMMANDS = {
    "mock OUT -n 2 --preset tiny": "OUT/tensor_000000.npy",
    "ingest SNAPSHOT OUT --preset tiny --views 1": "OUT/ingest.json",
    "preobserve STANDARD OUT --observer simple": "OUT/plan.json",
    "train SHARDS --epochs 1 --accumulate 1 -o OUT": "OUT/config.toml",
    "test RUN SHARDS --report OUT": "OUT/report.json",
    "revert RUN CUBE --out OUT.fits": "OUT.fits",
    "cube CUBE --run RUN --out OUT.npz": "OUT.npz",
    "cube CUBE --run RUN --out OUT.fits": "OUT.fits",
    "observe STANDARD 0 --populations lte --out OUT.fits": "OUT.fits",
    "plot lv CUBE -o OUT.png": "OUT.png",
}


def failing(number):
    def fail(path=None, *others):
        raise OSError(number, os.strerror(number), path if isinstance(path, str) else None)

    return fail


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("number", "where"), [(errno.EDQUOT, "fsync"), pytest.param(errno.EROFS, "open", marks=pytest.mark.slow)]
)
def test_a_disk_that_is_full_or_read_only_is_one_error(iris, inputs, tmp_path, monkeypatch, command, number, where):
    monkeypatch.setattr("iris_cli.evaluation.report_folder.draw_report", lambda *given: [])
    monkeypatch.setattr(*((os, "fsync") if where == "fsync" else (layout, "_exclusive")), failing(number))
    out = str(tmp_path / "out")
    words = [str(inputs.get(word, word.replace("OUT", out))) for word in command.split()]
    said = error_of(iris(*words, *(() if words[0] == "plot" else ("-q",))), 1)
    assert f"{os.strerror(number)}: {COMMANDS[command].replace('OUT', out)}" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"], said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 9 TiB"), "not enough memory: Unable to allocate 9 TiB"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried 9 TiB"), "not enough memory: CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "not enough memory: DefaultCPUAllocator"),
        (OSError("100000 requested and 0 written"), "No space left on device"),  # numpy's, which has no number
        (OSError(errno.ENAMETOOLONG, "File name too long", b"x" * 300), f"File name too long: {'x' * 300}"),
    ],
)
def test_errors_of_the_system_are_one_line_with_a_hint(error, said):
    known = errors.of_system(error)
    assert known is not None and known.message.startswith(said) and known.hint and "\n" not in known.message


class Full(io.FileIO):
    """A file on a disk with 5 kB left."""

    def write(self, data):
        if self.tell() + len(data) > 5000:
            failing(errno.ENOSPC)()
        return super().write(data)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_figure_on_a_full_disk_is_one_error(iris, inputs, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("iris_cli.plots.style.atomic_file", lambda path: Full(path, "wb"))
    assert "No space left on device" in error_of(iris("plot", "lv", inputs["CUBE"], "-o", tmp_path / f"a{suffix}"), 1)
