"""The stream of pairs: which batches, litter and noise each rank gets, and how batches are prefetched."""

import itertools
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from iris_cli.pairs.noise import ImageNoise, noise_key
from iris_cli.pairs.stream import PairStream, prefetch
from tests.training.makers import GRID, images, pairs_in


@pytest.fixture
def stream(shards, litter):
    added = {"noise": ImageNoise(0.5), "litter": pairs_in(litter), "litter_seed": 5}
    return PairStream("train", pairs_in(shards, "train"), np.arange(22), seed=3, batch=8, shuffle=True, **added)


def steps_of(streams, epoch=0, position=0):
    """The observations of each global step over all ranks, by position."""
    steps = []
    for batches in zip(*(stream.epoch(epoch, position) for stream in streams), strict=True):
        seen = {}
        for batch in batches:
            seen.update(zip(batch.positions.tolist(), batch.observation, strict=True))
        steps.append(seen)
    return steps


def assert_same(a, b):
    assert [sorted(step) for step in a] == [sorted(step) for step in b]
    for one, other in zip(a, b, strict=True):
        assert all(torch.equal(one[p], other[p]) for p in one)


@pytest.mark.parametrize(("ranks", "batch"), [(2, 4), (4, 2), (8, 1)])
def test_ranks_together_see_the_batches_of_one_rank(stream, ranks, batch):
    shared = [replace(stream, rank=r, world=ranks, batch=batch) for r in range(ranks)]
    assert_same(steps_of(shared), steps_of([stream]))


def test_an_epoch_shows_every_pair_once_and_the_next_in_another_order(stream):
    first, second = ([i for batch in stream.epoch(e) for i in batch.ids.tolist()] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(22)) and first != second


def test_an_epoch_can_be_resumed_at_any_batch(stream):
    assert_same(steps_of([stream], epoch=2, position=8), steps_of([stream], epoch=2)[1:])


def test_hidden_longitudes_are_ranges_that_depend_on_the_position_alone(stream):
    hiding = replace(stream, hide=0.5)
    shown, hidden = (
        torch.stack([image for step in steps_of([s]) for image in step.values()]) for s in (stream, hiding)
    )
    dark = (hidden == 0).all(dim=3)[:, 0]  # (pair, longitude); noise leaves no pixel dark
    assert not (shown == 0).all(dim=3).any() and 5 <= int(dark.any(dim=1).sum()) <= 17
    assert all(len(row.unique_consecutive()) <= 3 and row.sum() <= dark.shape[1] // 3 for row in dark)
    torch.testing.assert_close(hidden[~dark[:, None]], shown[~dark[:, None]])
    shared = [replace(hiding, rank=r, world=2, batch=4) for r in range(2)]
    assert_same(steps_of(shared, epoch=1), steps_of([hiding], epoch=1))


def test_noise_and_litter_are_reproducible_and_change_with_epoch_and_stream(stream):
    assert_same(steps_of([stream]), steps_of([stream]))
    ordered = replace(stream, shuffle=False)
    for other in (replace(ordered, name="validation"), replace(ordered, seed=4), replace(ordered, litter_seed=6)):
        assert not torch.equal(steps_of([ordered])[0][0], steps_of([other])[0][0])
    assert not torch.equal(steps_of([ordered], 0)[0][0], steps_of([ordered], 1)[0][0])


def test_litter_and_noise_are_added_to_the_observation(shards, litter):
    clean = PairStream("test", pairs_in(shards, "test"), np.arange(7), seed=0, batch=7)
    noise = ImageNoise(0.5)
    streams = clean, replace(clean, noise=noise), replace(clean, litter=pairs_in(litter))
    bare, with_noise, with_litter = (next(s.epoch()).observation for s in streams)
    np.testing.assert_array_equal(bare[4], images(204, GRID)[0])
    expected = bare[4] + torch.from_numpy(noise.draw((1, 32, 32), noise_key(0, "test", 0), 4))
    torch.testing.assert_close(with_noise[4], expected)
    known = [torch.from_numpy(images(n, GRID)[0]) for n in range(300, 309)]
    assert all(any(torch.allclose(x, k, atol=1e-5) for k in known) for x in with_litter - bare)


def test_a_rank_without_samples_still_gets_its_batches(shards):
    stream = PairStream("test", pairs_in(shards, "test"), np.arange(7), seed=0, batch=2, rank=2, world=3)
    assert [len(batch) for batch in stream.epoch()] == [2, 0]


def test_a_batch_is_not_overwritten_by_the_next(stream):
    kept = list(stream.epoch())
    again = [batch.density.clone() for batch in stream.epoch()]
    assert all(torch.equal(batch.density, density) for batch, density in zip(kept, again, strict=True))


def test_prefetching_raises_errors_in_their_place_and_stops_when_closed():
    def broken():
        yield 1
        raise KeyError("two")

    ahead = prefetch(broken(), 4)
    assert next(ahead) == 1
    with pytest.raises(KeyError):
        next(ahead)
    threads = threading.active_count()
    endless = prefetch(iter(int, 1), 2)
    next(endless)
    endless.close()
    assert threading.active_count() == threads


def test_prefetching_is_limited_to_its_depth():
    """Two that wait, one that is being computed and one that was taken: a run must not hold all batches in memory."""
    made = itertools.count()
    ahead = prefetch((next(made) for _ in itertools.count()), 2)
    assert next(ahead) == 0
    time.sleep(0.2)  # enough for thousands
    ahead.close()
    assert next(made) <= 5


def test_a_batch_is_never_larger_than_the_epoch(stream):
    """10^9 rows would be terabytes, and as many draws of litter."""
    for ranks in (1, 3):
        large = [replace(stream, rank=r, world=ranks, batch=10**9) for r in range(ranks)]
        assert all(one.share().step <= 22 + 2 for one in large)
        assert_same(steps_of(large), steps_of([replace(stream, batch=22)]))
