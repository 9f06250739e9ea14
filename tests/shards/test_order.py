"""The order of samples and the shares of ranks: facts about the arithmetic alone."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import ShardError
from shards.order import Share, epoch_order, random_below, random_bits, resampled_draws, stream_key

sizes_of_shards = st.lists(st.integers(0, 40), max_size=12)
worlds = st.integers(1, 16)
batches = st.integers(1, 9)
seeds = st.integers(0, 2**40)


def steps_of(count, batch, world, position=0):
    """Positions by step and rank."""
    shares = [Share(batch, rank, world, position) for rank in range(world)]
    order = np.arange(count)
    assert len({share.steps(count) for share in shares}) == 1
    ranks = [[d.positions for d in share.draws(order)] for share in shares]
    assert len({len(rank) for rank in ranks}) == 1, "every rank must have the same number of batches"
    return [list(step) for step in zip(*ranks, strict=True)]


@given(sizes_of_shards, seeds, st.integers(0, 5), st.integers(1, 14))
def test_an_epoch_holds_every_sample_exactly_once(sizes, seed, epoch, window):
    order = epoch_order(sizes, seed, epoch, window=window)
    assert np.array_equal(np.sort(order), np.arange(sum(sizes)))


@given(sizes_of_shards, seeds)
def test_the_order_is_reproducible_and_differs_between_epochs(sizes, seed):
    first = epoch_order(sizes, seed, 0)
    assert np.array_equal(first, epoch_order(sizes, seed, 0))
    if sum(sizes) > 12:  # shorter orders may agree by chance
        assert not np.array_equal(first, epoch_order(sizes, seed, 1))
        assert not np.array_equal(first, epoch_order(sizes, seed + 1, 0))


def test_the_order_is_the_same_in_every_release():
    """SplitMix64 as published: the first outputs for seed 1234567 of its authors' reference code."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert random_bits(1234567, np.arange(3)).tolist() == published
    assert epoch_order([3, 2, 4], seed=7, epoch=1).tolist() == [3, 6, 4, 0, 7, 5, 8, 2, 1]


@given(sizes_of_shards, seeds, st.integers(1, 5))
def test_samples_stay_within_their_window_of_shards(sizes, seed, window):
    """No more than `window` shards need be open at a time."""
    order = epoch_order(sizes, seed, 0, window=window)
    shard = np.searchsorted(np.cumsum(sizes), order, side="right")
    spans = [np.flatnonzero(shard == s)[[0, -1]] for s in set(shard.tolist())]
    for position in range(len(order)):
        assert sum(first <= position <= last for first, last in spans) <= window


@given(st.integers(0, 300), batches, worlds, st.data())
def test_every_position_from_any_on_is_read_once_by_ranks_that_differ_in_the_last_step(count, batch, world, data):
    position = data.draw(st.integers(0, count))
    steps = steps_of(count, batch, world, position)
    read = np.concatenate([np.zeros(0, int), *(rank for step in steps for rank in step)])
    assert np.array_equal(np.sort(read), np.arange(position, count))
    sizes = [[len(rank) for rank in step] for step in steps]
    assert all(set(step) == {batch} for step in sizes[:-1])
    assert all(max(step) - min(step) <= 1 for step in sizes[-1:])


@given(st.integers(0, 200), st.sampled_from([(8, 1), (4, 2), (2, 4), (1, 8)]))
def test_a_global_step_holds_the_same_samples_on_any_number_of_ranks(count, layout):
    reference = [sorted(step[0].tolist()) for step in steps_of(count, 8, 1)]
    here = [sorted(np.concatenate(step).tolist()) for step in steps_of(count, *layout)]
    assert here == reference


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: next(Share(2, position=11).draws(np.arange(10))), "position 11 is beyond the epoch's 10 samples"),
        (lambda: Share(0), "impossible share"),
        (lambda: Share(1, rank=2, world=2), "impossible share"),
        (lambda: Share(1, position=-1), "impossible share"),
        (lambda: next(resampled_draws(np.zeros(0, np.int64), Share(4), 0, 0)), "holds no samples"),
    ],
)
def test_impossible_shares_and_positions_and_draws_from_nothing_are_refused(make, message):
    with pytest.raises(ShardError, match=message):
        make()


@given(batches, worlds, seeds, st.integers(0, 50), st.integers(1, 1000))
def test_a_draw_with_replacement_depends_on_the_position_alone(batch, world, seed, start, pool):
    numbers = np.arange(pool) * 3
    single = next(resampled_draws(numbers, Share(batch * world, 0, 1, start), seed, 2))
    ranks = [next(resampled_draws(numbers, Share(batch, r, world, start), seed, 2)) for r in range(world)]
    drawn = {int(p): int(n) for d in ranks for p, n in zip(d.positions, d.numbers, strict=True)}
    assert drawn == dict(zip(single.positions.tolist(), single.numbers.tolist(), strict=True))
    assert set(drawn.values()) <= set(numbers.tolist())


def test_draws_are_even_and_independent_of_one_another():
    drawn = random_below(stream_key("test", 1), np.arange(200_000), 10)
    shares = np.bincount(drawn, minlength=10) / len(drawn)
    assert np.abs(shares - 0.1).max() < 4 * np.sqrt(0.09 / len(drawn))  # four standard errors
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


def test_a_bad_sample_has_a_substitute_in_draws_with_replacement_only():
    draw = next(resampled_draws(np.arange(1000), Share(4), seed=1, epoch=0))
    again = [draw.again(0, attempt) for attempt in (1, 2, 3)]
    assert len({int(draw.numbers[0]), *again}) == 4
    assert next(Share(4).draws(np.arange(4))).again(0, 1) is None


def test_samples_are_mixed_well():
    """Neighbours in the order are rarely neighbours in the set, and position and sample are uncorrelated."""
    order = epoch_order([256] * 40, seed=3, epoch=0, window=40)
    assert np.mean(np.abs(np.diff(order)) == 1) < 1e-3
    assert abs(np.corrcoef(np.arange(len(order)), order)[0, 1]) < 0.05


def test_the_order_of_two_million_samples_takes_seconds():
    start = time.process_time()
    epoch_order(np.full(7813, 256), 1, 0)
    assert time.process_time() - start < 10.0  # 0.24 s on an idle machine; a loop over samples would take minutes


@pytest.mark.parametrize("count", [20_000, 400_000])
def test_an_order_takes_less_than_60_bytes_per_sample(count):
    tracemalloc.start()
    epoch_order(np.full(count // 256, 256), 1, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * count + 1_000_000  # bytes
