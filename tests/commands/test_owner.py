"""A command that would write a folder, which another process or thread writes, is refused at once."""

import threading
from contextlib import contextmanager

import pytest

from shards.owner import owned
from tests.commands.errors import error_of
from tests.snapshots.snapshots import galaxy, write


@contextmanager
def written_elsewhere(folder, beside):
    begun, ended = threading.Event(), threading.Event()

    def hold():
        with owned(folder, beside=beside):
            begun.set()
            ended.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    yield
    ended.set()
    thread.join()


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_a_folder_that_is_being_written_is_refused(iris, tmp_path, tiny_shards, trained_run, options):
    out, standard = tmp_path / "out", tmp_path / "standard"
    assert iris("mock", standard, "-n", 1, "-q").code == 0
    commands = {
        ("train", tiny_shards, "--out", out, "--epochs", 1, "--batch-size", 2): False,
        ("preobserve", standard, out, "--observer", "simple"): False,
        ("ingest", write(tmp_path / "snap.hdf5", galaxy()), out, "--preset", "tiny", "--spin", "clockwise"): False,
        ("mock", out, "-n", 1): True,
        ("test", trained_run, tiny_shards, "--report", out): True,
    }
    for words, beside in commands.items():
        with written_elsewhere(out, beside):
            assert "out is being written by process" in error_of(iris(*words, *options, "-q"), 1), words
        assert not out.exists()
