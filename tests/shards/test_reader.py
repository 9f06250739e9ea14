"""One sample at a time: which bytes are read, in how many reads, and which damage is detected."""

import os

import numpy as np
import pytest

from shards.errors import ShardError
from shards.index import Index
from shards.index_tars import index_tars
from shards.reader import Reader
from shards.tar import Writer
from tests.shards.damage import flip, payload_of
from tests.shards.makers import assert_true, npy, stream


def test_checksums_are_compared_once_or_not_at_all(copied):
    flip(*payload_of(copied, 20), 0)
    assert sum(map(len, stream(copied, checksums=False).epoch())) == 51
    reading = Reader(Index.open(copied), ["density"])
    reading.read_new(0)
    tar, offset = payload_of(copied, 0)
    flip(tar, offset, 0)
    reading.read_new(0)  # its checksum was compared the first time only
    with pytest.raises(ShardError):
        Reader(Index.open(copied), ["density"]).read_new(0)


def test_a_shard_cut_while_it_is_open_is_detected_without_checksums(copied):
    reading = Reader(Index.open(copied), checksums=False)
    reading.read_new(0)
    tar, offset = payload_of(copied, 3)
    os.truncate(tar, offset)  # in the middle of a row
    with pytest.raises(ShardError, match=r"'g0001_v0\.density\.npy' is damaged: the file ends before it"):
        reading.read_new(3)
    os.truncate(tar, reading.index.record(0).members["json"].offset[2] + 3)
    with pytest.raises(ShardError, match=r"'g0000_v2\.json' is damaged: the file ends before it"):
        reading.info(2)


def test_short_reads_are_continued(written, monkeypatch):
    """Signals and network file systems may return fewer bytes than asked for."""
    true_read, rng = os.preadv, np.random.default_rng(0)

    def short_read(handle, buffers, offset):
        room = int(rng.integers(1, sum(len(b) for b in buffers) + 1))
        scrap = bytearray(room)
        got = true_read(handle, [scrap], offset)
        rest = memoryview(scrap)[:got]
        for buffer in buffers:
            here = rest[: len(buffer)]
            memoryview(buffer)[: len(here)] = here
            rest = rest[len(here) :]
        return got

    monkeypatch.setattr(os, "preadv", short_read)
    for batch in stream(written, "train").epoch():
        assert_true(batch)


def test_adjacent_arrays_are_read_together(written, monkeypatch):
    reads, true_read = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, *what: reads.append(handle) or true_read(handle, *what))
    assert sum(map(len, stream(written).epoch())) == 51
    assert len(reads) == 51


def test_distant_arrays_are_read_separately(tmp_path, monkeypatch):
    image, label = np.arange(12.0), np.arange(3.0)
    with (tmp_path / "a-0.tar").open("wb") as file:
        writer = Writer(file)
        for name, data in (("k.image.npy", npy(image)), ("k.jpg", bytes(10**6)), ("k.label.npy", npy(label))):
            writer.add(name, data)
        writer.close()
    reading, asked, true_read = Reader(index_tars(tmp_path)), [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda *what: asked.append(sum(map(len, what[1]))) or true_read(*what))
    sample = reading.read_new(0)
    assert np.array_equal(sample["image"], image) and np.array_equal(sample["label"], label)
    assert len(asked) == 2 and sum(asked) < 3000


def test_a_sample_has_a_key_and_a_json(written):
    reading = Reader(Index.open(written))
    assert reading.key(4) == "g0001_v1"
    assert reading.info(4)["view"] == 1
