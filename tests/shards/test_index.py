"""The index and the records of a set, and splits by group."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import layout
from shards.errors import ShardError
from shards.index import Index, ShardRecord, group_split
from shards.set_plan import PlanRecord
from shards.writer import SetPlan, write_set
from tests.shards.conftest import ATTRIBUTES
from tests.shards.damage import rewrite
from tests.shards.makers import SCHEMA, SHAPE, arrays, make

FRACTIONS = {"train": 0.7, "validation": 0.2, "test": 0.1}


def test_the_index_lists_counts_and_arrays(written):
    index = Index.open(written)
    assert index.splits == {"train": 37, "validation": 11, "test": 3}
    assert (index.count(), index.count("validation")) == (51, 11)
    assert index.arrays["density"].shape == SHAPE
    assert index.arrays["density"].attributes == {"unit": "solMass / pc3"}
    assert index.attributes == ATTRIBUTES
    assert index.failed == 0


def test_statistics_equal_those_of_the_arrays(written):
    statistics = Index.open(written).statistics["train"]["observation"]
    truth = np.stack([arrays(i)["observation"] for i in range(37)]).astype(np.float64)
    assert statistics.mean == pytest.approx(truth.mean(), rel=1e-12)
    assert (statistics.min, statistics.max) == (truth.min(), truth.max())
    assert (statistics.values, statistics.nan) == (truth.size, 0)


def test_the_sample_table_names_shard_key_and_group_of_each_sample(written):
    index = Index.open(written)
    table = index.samples("validation")
    assert table.number.tolist() == list(range(37, 48))
    assert table.key[0] == "g0033_v1"
    assert table.group[0] == "g0033"
    assert [index.shards[i].name for i in table.shard[[0, -1]]] == ["validation-000000.tar", "validation-000001.tar"]
    assert all(np.all(offset % 512 == 0) for offset in table.offset.values())


def test_the_fingerprint_depends_on_the_data_and_not_on_the_folder(written, tmp_path):
    index = Index.open(written)
    moved = Index.open(written.rename(written.parent / "moved"))
    (written.parent / "moved").rename(written)
    assert moved.fingerprint == index.fingerprint
    write_set(tmp_path / "other", SetPlan({"train": range(36)}), make, schema=SCHEMA, attributes={})
    assert Index.open(tmp_path / "other").fingerprint != index.fingerprint


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(ShardError, match="does not exist"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(ShardError, match=r"has no index\.json") as caught:
        Index.open(tmp_path)
    assert "not a shard folder" in caught.value.hint


@pytest.mark.parametrize("name", ["../train-000000.tar", "/etc/passwd", "pipe:date", "", ".."])
def test_an_index_cannot_name_files_outside_its_folder(copied, name):
    rewrite(copied, lambda body: body["shards"][0].update(name=name))
    if name == "pipe:date":  # a valid file name: the file is looked for in the folder, and missing
        with pytest.raises(ShardError, match="does not exist"):
            Index.open(copied).record(0)
    else:
        with pytest.raises(ShardError, match="not a file beside it"):
            Index.open(copied)


def test_an_index_of_a_newer_format_asks_for_a_newer_release(copied):
    rewrite(copied, lambda body: body.update(version=layout.FORMAT_VERSION + 1))
    with pytest.raises(ShardError, match="format version 3; this program reads up to 2") as caught:
        Index.open(copied)
    assert "newer release" in caught.value.hint


def test_an_index_of_an_older_format_is_not_called_damaged(copied):
    rewrite(copied, lambda body: body.update(version=layout.FORMAT_VERSION - 1))
    with pytest.raises(ShardError, match="format version 1, which this program no longer reads") as caught:
        Index.open(copied)
    assert "write the set again" in caught.value.hint


def test_an_index_changed_by_hand_is_refused(copied):
    path = copied / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"train":37', b'"train":38'))
    with pytest.raises(ShardError, match="damaged or was changed by hand") as caught:
        Index.open(copied)
    assert "--repair" in caught.value.hint


def test_a_record_of_another_encoding_is_refused(copied):
    rewrite(copied, lambda body: body["arrays"][0].update(encoding="float16-scaled"), "train-000001.json")
    with pytest.raises(ShardError, match=r"disagrees with index\.json"):
        Index.open(copied).record(1)


def test_an_index_of_other_arrays_than_its_shards_is_refused(copied):
    rewrite(copied, lambda body: body["arrays"][0].update(encoding="float16-scaled"))
    with pytest.raises(ShardError, match=r"train-000001\.json holds other arrays or encodings than index\.json"):
        Index.open(copied).record(1)


def test_a_file_that_lacks_a_key_is_refused(copied):
    rewrite(copied, lambda body: body.pop("keys"), "train-000001.json")
    with pytest.raises(ShardError, match=r"train-000001\.json is not the record of a shard: KeyError\('keys'\)"):
        ShardRecord.read(copied / "train-000001.json")
    rewrite(copied, lambda body: body.pop("failed"))
    with pytest.raises(ShardError, match=r"index\.json is not the index of a set: KeyError\('failed'\)"):
        Index.open(copied)
    rewrite(copied, lambda body: body.pop("shards"), "plan.json")
    with pytest.raises(ShardError, match=r"plan\.json is not the plan of a set: KeyError\('shards'\)"):
        PlanRecord.read(copied)
    rewrite(copied, lambda body: body.update(kind="index"), "plan.json")
    with pytest.raises(ShardError, match=r"plan\.json is of kind 'index', not 'plan'"):
        PlanRecord.read(copied)


def test_an_unknown_split_is_refused_with_a_list_of_splits(written):
    with pytest.raises(ShardError, match="no split 'valid'") as caught:
        Index.open(written).numbers("valid")
    assert "train, validation, test" in caught.value.hint


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(0, 10))
def test_a_group_is_never_on_both_sides_of_a_split(groups, seed):
    split = group_split(groups, FRACTIONS, seed)
    sides = [{groups[i] for i in members} for members in split.values()]
    assert sum(len(side) for side in sides) == len(set(groups))
    assert sorted(i for members in split.values() for i in members) == list(range(len(groups)))


@given(st.integers(3, 300), st.integers(0, 10))
def test_splits_have_their_fractions_of_groups_and_none_is_empty(count, seed):
    split = group_split(list(range(count)), FRACTIONS, seed)
    for name, fraction in FRACTIONS.items():
        assert len(split[name]) >= 1
        assert abs(len(split[name]) - fraction * count) <= 2


def test_remaining_groups_go_to_the_largest_remainders():
    """1.3, 2.5 and 1.2 groups are 1, 3 and 1."""
    split = group_split(range(5), {"train": 0.26, "validation": 0.5, "test": 0.24}, 0)
    assert {name: len(members) for name, members in split.items()} == {"train": 1, "validation": 3, "test": 1}


def test_too_few_groups_go_to_the_first_splits():
    for groups, shares in (([7], [1, 0, 0]), ([7, 8], [1, 1, 0]), ([7, 8, 9], [1, 1, 1])):
        assert [len(members) for members in group_split(groups, FRACTIONS, 0).values()] == shares


def test_a_split_depends_on_names_and_seed_and_not_on_the_order_of_the_input():
    groups = [f"galaxy {i}" for i in range(40)]
    there = group_split(groups, FRACTIONS, 1)
    back = group_split(groups[::-1], FRACTIONS, 1)
    assert {groups[i] for i in there["test"]} == {groups[::-1][i] for i in back["test"]}
    assert there != group_split(groups, FRACTIONS, 2)


def test_a_split_of_fraction_zero_is_empty():
    assert Counter({k: len(v) for k, v in group_split(range(9), {"train": 1.0, "test": 0.0}, 0).items()})["test"] == 0


def test_fractions_that_do_not_sum_to_1_are_refused():
    with pytest.raises(ShardError, match="not shares of 1"):
        group_split([1, 2], {"train": 0.8, "test": 0.3}, 0)
