"""Batches hold the right arrays, in an order that depends on seed and epoch alone; damage is always detected."""

import os
import threading
import time

import numpy as np
import pytest

from shards.errors import ShardError
from shards.index import Index
from shards.reader import Reader
from shards.stream import BadSamples, Draws, ReadAhead
from shards.writer import SetPlan
from tests.shards import makers
from tests.shards.damage import flip, payload_of, swap
from tests.shards.makers import assert_true, write


def stream(folder, split="train", **options):
    return makers.stream(folder, split, **{"seed": 5, **options})


def ids(batches):
    return [int(i) for batch in batches for i in batch.ids]


# --- what is in a batch ---


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("threads", [0, 1, 3, 8])
def test_batches_hold_the_arrays_of_the_same_samples_whatever_the_threads_and_the_depth(written, threads, depth):
    reference, found = ids(stream(written, threads=0).epoch(0)), []
    for batch in stream(written, threads=threads, depth=depth).epoch(0):
        assert_true(batch)
        found += batch.ids.tolist()
    assert found == reference and sorted(found) == list(range(37))


def test_epochs_are_shuffled_differently_or_not_at_all(written):
    training = stream(written)
    assert ids(training.epoch(0)) != ids(training.epoch(1))
    assert ids(stream(written, "validation", shuffle=False).epoch(0)) == list(range(37, 48))


def test_a_rank_without_samples_gets_an_empty_batch(written):
    last = [list(stream(written, "test", batch=1, rank=r, world=5, shuffle=False).epoch()) for r in range(5)]
    assert [len(batches) for batches in last] == [1] * 5
    assert [len(batches[0]) for batches in last] == [1, 1, 1, 0, 0]
    assert last[4][0].arrays["density"].shape == (0, 1, 6, 10)


def test_a_position_continues_an_epoch_or_resampled_draws(written):
    training = stream(written)
    assert ids(training.epoch(4, 16)) == training.draws.order(4)[16:].tolist()
    single = [batch.ids.tolist() for _, batch in zip(range(4), training.resampled(1), strict=False)]
    assert next(training.resampled(1, position=24)).ids.tolist() == single[3]


def test_any_samples_can_be_chosen_by_number(written):
    index = Index.open(written)
    reading = ReadAhead(Reader(index), 8)
    assert sorted(ids(reading(Draws(np.array([3, 40, 50]), index.sizes()).epoch()))) == [3, 40, 50]
    assert Draws(np.array([40, 3]), index.sizes(), shuffle=False).order(0).tolist() == [40, 3]
    for wrong, why in (([3, 51], "not all among the 51"), ([-1, 3], "not all among"), ([3, 3], "do not ascend")):
        with pytest.raises(ShardError, match=why):
            Draws(np.array(wrong), index.sizes())


def test_only_the_arrays_that_are_asked_for_are_read(written):
    index = Index.open(written)
    for reading in (ReadAhead(Reader(index, ["density"]), 8), ReadAhead(Reader(index), 8, arrays=["density"])):
        batch = next(reading(Draws(index.numbers("train"), index.sizes()).epoch()))
        assert list(batch.arrays) == ["density"]
    with pytest.raises(ShardError, match="no array 'densty'"):
        stream(written, arrays=["densty"])


# --- buffers and threads ---


def test_buffers_are_reused_after_one_further_batch(written):
    held, last, buffers = stream(written, batch=2, depth=2), [], set()
    for epoch in range(3):
        for batch in held.epoch(epoch):
            buffers.add(batch.arrays["density"].ctypes.data)
            last = [*last[-1:], (batch, batch.arrays["density"].copy())]  # this one and the one before it
            for old, truth in last:
                assert np.array_equal(old.arrays["density"], truth)
    assert len(buffers) == 3


def test_two_iterations_at_once_do_not_share_buffers(written):
    once = stream(written)
    for a, b in zip(once.epoch(0), once.epoch(1), strict=True):
        assert_true(a)
        assert_true(b)


def test_closing_a_stream_ends_its_threads(written):
    before = threading.active_count()
    batches = iter(stream(written, batch=1, threads=4).epoch())
    next(batches)
    assert threading.active_count() == before + 4
    batches.close()
    assert threading.active_count() == before


def test_closing_a_stream_drops_the_reads_that_have_not_begun(written, monkeypatch):
    """Only the read that a thread is in is finished; a read that hangs does not keep the process alive."""
    reading, gate, read, join = Reader(Index.open(written)), threading.Event(), [], threading.Thread.join

    class Stuck:
        arrays = reading.arrays

        def read(self, number, rows):
            if read:
                gate.wait()
            read.append(number)

    def opening(self, timeout=None):
        gate.set()
        join(self, timeout)

    before = set(threading.enumerate())
    draws = stream(written, batch=1).draws.epoch()
    batches = ReadAhead(Stuck(), 1, threads=1, depth=9)(draws)
    next(batches)
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    monkeypatch.setattr(threading.Thread, "join", opening)
    batches.close()
    assert len(read) <= 2


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"threads": -1}, {"depth": 0}])
def test_an_impossible_read_ahead_is_refused(written, wrong):
    with pytest.raises(ShardError, match="impossible read-ahead"):
        ReadAhead(Reader(Index.open(written)), **{"batch": 1, **wrong})


def test_several_batches_are_read_at_the_same_time(written, monkeypatch):
    """Many reads wait for the disk at the same time."""
    from shards import reader

    true_read, lock, waiting, most = reader.read_exactly, threading.Lock(), 0, 0

    def slow(*args):
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        time.sleep(0.005)
        with lock:
            waiting -= 1
        return true_read(*args)

    monkeypatch.setattr(reader, "read_exactly", slow)
    for _ in stream(written, batch=4, threads=16, depth=4).epoch():
        pass
    assert most > 4  # more than a batch


def test_stages_of_a_program_follow_in_a_webdataset_pipeline(written):
    webdataset = pytest.importorskip("webdataset")

    def doubled(batches):
        for batch in batches:
            batch.arrays["density"] *= 2.0
            yield batch

    plain = [batch.arrays["density"].copy() for batch in stream(written).epoch()]
    stages = stream(written)
    pipeline = webdataset.DataPipeline(stages.draws.epoch, stages.read_ahead, doubled)
    for batch, once in zip(pipeline, plain, strict=True):
        assert np.array_equal(batch.arrays["density"], 2.0 * once)


def test_a_read_only_folder_can_be_streamed(copied):
    for path in (*copied.iterdir(), copied):
        path.chmod(path.stat().st_mode & ~0o222)
    names = sorted(p.name for p in copied.iterdir())
    assert len(ids(stream(copied).epoch())) == 37
    assert sorted(p.name for p in copied.iterdir()) == names
    copied.chmod(0o755)


def test_a_set_may_have_more_shards_than_can_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr("shards.reader.MOST_OPEN", 3)
    write(tmp_path / "set", plan=SetPlan({"train": range(12)}, 1))
    assert sorted(ids(stream(tmp_path / "set", threads=8).epoch())) == list(range(12))


# --- damage ---


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: flip(*payload_of(f, 20), 0), r"train-000002\.tar: member 'g0006_v2\.density\.npy' is damaged"),
        (lambda f: (f / "train-000001.tar").unlink(), r"train-000001\.tar is missing"),
        (lambda f: (f / "train-000001.json").unlink(), r"train-000001\.json does not exist"),
    ],
)
def test_damage_stops_the_stream_with_shard_key_and_hint(copied, damage, message):
    damage(copied)
    with pytest.raises(ShardError, match=message) as caught:
        list(stream(copied).epoch())
    assert "--resume" in caught.value.hint


def test_a_shard_cut_at_any_byte_is_detected(copied):
    path = copied / "test-000000.tar"
    data = path.read_bytes()
    for size in [*range(0, len(data), 2003), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ShardError, match=rf"test-000000\.tar has {size} bytes instead of {len(data)}"):
            list(stream(copied, "test", checksums=False).epoch())


def test_swapped_shards_are_detected_without_checksums(copied):
    swap(copied / "train-000000.tar", copied / "train-000001.tar")
    with pytest.raises(ShardError, match="another member is in its place"):
        list(stream(copied, checksums=False).epoch())


def test_links_to_shards_are_followed_but_only_regular_files_are_read(copied, tmp_path):
    tar = copied / "train-000000.tar"
    tar.rename(tmp_path / "elsewhere.tar")
    tar.symlink_to(tmp_path / "elsewhere.tar")
    assert len(ids(stream(copied).epoch())) == 37
    (tmp_path / "elsewhere.tar").unlink()
    with pytest.raises(ShardError, match="is a link to nothing"):
        list(stream(copied).epoch())
    tar.unlink()
    os.mkfifo(tar)  # would block
    with pytest.raises(ShardError, match="not a regular file"):
        list(stream(copied).epoch())


def test_bad_samples_can_be_left_out_and_are_counted_once(copied):
    flip(*payload_of(copied, 20), 0)
    flip(*payload_of(copied, 5), 0)
    bad = BadSamples(most=2)
    skipping = stream(copied, bad=bad)
    batches = list(skipping.epoch())
    assert sorted(ids(batches)) == sorted(set(range(37)) - {5, 20})
    for batch in stream(copied, bad=BadSamples(most=2)).epoch():
        assert_true(batch)
    assert set(bad.found) == {5, 20}
    list(skipping.epoch(1))
    assert len(bad.found) == 2  # met again, counted once
    with pytest.raises(ShardError, match="2 bad samples, more than the 1 allowed"):
        list(stream(copied, bad=BadSamples(most=1)).epoch())


def test_a_bad_draw_is_replaced_by_another(copied):
    flip(*payload_of(copied, 50), 0)
    bad = BadSamples(most=1)
    litter = stream(copied, "test", bad=bad).resampled()
    batches = [batch.ids.copy() for _, batch in zip(range(5), litter, strict=False)]
    assert all(len(batch) == 8 for batch in batches)
    assert 50 not in np.concatenate(batches)
    assert list(bad.found) == [50]


def test_drawing_from_unreadable_shards_ends_with_an_error(copied):
    (copied / "test-000000.tar").unlink()
    with pytest.raises(ShardError, match=r"test-000000\.tar is missing"):
        next(iter(stream(copied, "test", bad=BadSamples(most=100)).resampled()))


def test_any_exception_of_a_reading_thread_is_raised(written, monkeypatch):
    def broken(*args):
        raise MemoryError("no room")

    monkeypatch.setattr("shards.reader.read_exactly", broken)
    with pytest.raises(ShardError, match="MemoryError: no room"):
        list(stream(written).epoch())
