"""The index and the records of a set, and splits by group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import layout
from shards.errors import ShardError
from shards.index import Index, ShardRecord
from shards.set_plan import PlanRecord
from tests.shards.damage import rewrite
from tests.shards.makers import ATTRIBUTES, SCHEMA, arrays, write

FRACTIONS = {"train": 0.7, "validation": 0.2, "test": 0.1}


def test_the_index_lists_counts_and_arrays(written):
    index = Index.open(written)
    assert index.splits == {"train": 37, "validation": 11, "test": 3}
    assert (index.count(), index.count("validation"), index.failed) == (51, 11, 0)
    assert index.arrays["density"] == SCHEMA[1] and index.attributes == ATTRIBUTES


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


def test_the_fingerprint_depends_on_the_data_and_not_on_the_folder(written, copied, tmp_path):
    write(tmp_path / "other", plan=36)
    one, same, other = (Index.open(folder).fingerprint for folder in (written, copied, tmp_path / "other"))
    assert one == same != other


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


@pytest.mark.parametrize(
    ("version", "message", "hint"),
    [
        (layout.FORMAT_VERSION + 1, "format version 3; this program reads up to 2", "newer release"),
        (layout.FORMAT_VERSION - 1, "format version 1, which this program no longer reads", "write the set again"),
    ],
)
def test_an_index_of_another_format_is_not_called_damaged(copied, version, message, hint):
    rewrite(copied, lambda body: body.update(version=version))
    with pytest.raises(ShardError, match=message) as caught:
        Index.open(copied)
    assert hint in caught.value.hint


def test_an_index_changed_by_hand_is_refused(copied):
    path = copied / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"train":37', b'"train":38'))
    with pytest.raises(ShardError, match="damaged or was changed by hand") as caught:
        Index.open(copied)
    assert "--repair" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message"), [("train-000001.json", r"disagrees with"), ("index.json", "holds other arrays or encodings")]
)
def test_a_record_and_an_index_of_different_encodings_are_refused(copied, name, message):
    rewrite(copied, lambda body: body["arrays"][0].update(encoding="float16-scaled"), name)
    with pytest.raises(ShardError, match=rf"train-000001\.json {message}.* index\.json"):
        Index.open(copied).record(1)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train-000001.json", lambda body: body.pop("keys"), r"not the record of a shard: KeyError\('keys'\)"),
        ("index.json", lambda body: body.pop("failed"), r"not the index of a set: KeyError\('failed'\)"),
        ("plan.json", lambda body: body.pop("shards"), r"not the plan of a set: KeyError\('shards'\)"),
        ("plan.json", lambda body: body.update(kind="index"), "of kind 'index', not 'plan'"),
    ],
)
def test_a_file_that_lacks_a_key_is_refused(copied, name, change, message):
    rewrite(copied, change, name)
    with pytest.raises(ShardError, match=f"{name} is {message}"):
        Index.open(copied)
        ShardRecord.read(copied / "train-000001.json")
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


@pytest.mark.parametrize(
    ("groups", "fractions", "counts"),
    [
        (5, [0.26, 0.5, 0.24], [1, 3, 1]),  # 1.3, 2.5 and 1.2 groups: the largest remainder gets the one that is left
        (1, [0.7, 0.2, 0.1], [1, 0, 0]),  # too few groups go to the first splits
        (2, [0.7, 0.2, 0.1], [1, 1, 0]),
        (3, [0.7, 0.2, 0.1], [1, 1, 1]),
        (9, [1.0, 0.0], [9, 0]),
    ],
)
def test_groups_are_whole_and_their_numbers_nearest_to_the_fractions(groups, fractions, counts):
    split = group_split(range(groups), dict(zip("abc", fractions, strict=False)), 0)
    assert [len(members) for members in split.values()] == counts


def test_a_split_depends_on_names_and_seed_and_not_on_the_order_of_the_input():
    groups = [f"galaxy {i}" for i in range(40)]
    there = group_split(groups, FRACTIONS, 1)
    back = group_split(groups[::-1], FRACTIONS, 1)
    assert {groups[i] for i in there["test"]} == {groups[::-1][i] for i in back["test"]}
    assert there != group_split(groups, FRACTIONS, 2)


def test_fractions_that_do_not_sum_to_1_are_refused():
    with pytest.raises(ShardError, match="not shares of 1"):
        group_split([1, 2], {"train": 0.8, "test": 0.3}, 0)
