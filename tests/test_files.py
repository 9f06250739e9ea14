"""Names of output files, checked before any work."""

import os
import subprocess
import sys

import pytest

from iris_cli.errors import DataError, UsageError
from iris_cli.files import check_output
from shards import layout


def test_an_output_file_has_a_known_suffix_an_existing_folder_and_a_free_name(tmp_path):
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b.png").touch()
    check_output(tmp_path / "c.PNG", overwrite=False, suffixes=(".png", ".pdf"))
    check_output(tmp_path / "b.png", overwrite=True)
    for name, error, message in (
        ("c.jpg", UsageError, r"ends in none of \.png, \.pdf"),
        ("nowhere/c.png", DataError, "nowhere is not a folder"),
        ("a.png", UsageError, "is a folder"),
        ("b.png", UsageError, "exists already"),
    ):
        with pytest.raises(error, match=message):
            check_output(tmp_path / name, overwrite=False, suffixes=(".png", ".pdf"))


def test_files_of_killed_commands_are_removed_before_an_output_is_made(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = layout.temporary_name(tmp_path / "a.png").name.split(".")[3]
    left, running = (tmp_path / f".a.png.{host}.{pid}.part" for pid in (ended.pid, os.getpid()))
    left.touch()
    running.touch()
    check_output(tmp_path / "b.png", overwrite=False)
    assert running.exists() and not left.exists()
