"""The index and the records of a set, and splits by group."""

import numpy as np
import pytest

from shards import layout
from shards.errors import ShardError
from shards.index import Index, ShardRecord
from shards.set_plan import PlanRecord
from shards.writer import Sample
from tests.shards.damage import rewrite
from tests.shards.makers import ATTRIBUTES, SCHEMA, arrays, groups_of, records_of, write


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


def test_records_name_key_group_and_place_of_each_sample(written):
    assert Index.open(written).numbers("validation").tolist() == list(range(37, 48))
    assert Index.open(written).keys("validation")[:2] == ["g0033_v1", "g0033_v2"]
    records = records_of(written, "validation")
    assert [record.name for record in records] == ["validation-000000.tar", "validation-000001.tar"]
    assert (records[0].keys[0], records[0].groups[0]) == ("g0033_v1", "g0033")
    assert all(offset % 512 == 0 for members in records[0].members.values() for offset in members.offset)


def test_the_group_of_a_sample_may_be_a_name_that_is_not_utf8(tmp_path):
    write(tmp_path, lambda number: Sample(f"k{number}", f"g\udcff{number}", arrays(number), {}), 3)
    assert groups_of(tmp_path) == ["g\udcff0", "g\udcff1", "g\udcff2"]


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
    ("step", "message", "hint"),
    [
        (1, "this program reads up to", "newer release"),
        (-1, "this program no longer reads", "write the set again"),
    ],
)
def test_an_index_of_another_format_is_not_called_damaged(copied, step, message, hint):
    version = layout.FORMAT_VERSION + step
    rewrite(copied, lambda body: body.update(version=version))
    with pytest.raises(ShardError, match=f"format version {version}.*{message}") as caught:
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
        ("train-000001.json", lambda body: body["statistics"].pop("density"), ".* no statistics of density"),
        ("train-000001.json", lambda body: body["members"].pop("density"), ".* no statistics of density"),
        ("train-000001.json", lambda body: body.update(name="\ud800.tar"), ".* UnicodeEncodeError"),
        ("index.json", lambda body: body["shards"][0].update(name="\ud800.tar"), ".* UnicodeEncodeError"),
        ("index.json", lambda body: body.pop("failed"), r"not the index of a set: KeyError\('failed'\)"),
        ("index.json", lambda body: body["shards"][0].update(count=None), "not the index of a set: TypeError"),
        ("index.json", lambda body: body["shards"][0].update(size=1 << 70), "not the index of a set: TypeError"),
        ("index.json", lambda body: body["shards"][0].update(colour="red"), "not the index of a set: KeyError"),
        ("index.json", lambda body: body.update(statistics=[]), "not the index of a set: AttributeError"),
        ("index.json", lambda body: body["statistics"].pop("test"), ".*no statistics of test"),
        ("index.json", lambda body: body["arrays"][0].update(shape=[[1]]), "not the index of a set: TypeError"),
        ("train-000000.json", lambda body: body["groups"].pop(), ".* columns do not have 8 rows"),
        ("train-000000.json", lambda body: body.update(failed=[3]), "not the record of a shard: TypeError"),
        ("train-000000.json", lambda body: body["members"]["json"]["offset"].__setitem__(0, 1), ".* is not within"),
        ("plan.json", lambda body: body["shards"][0].update(items=-1), "not the plan of a set: TypeError"),
        ("plan.json", lambda body: body.pop("shards"), r"not the plan of a set: KeyError\('shards'\)"),
        ("plan.json", lambda body: body.update(kind="index"), "of kind 'index', not 'plan'"),
    ],
)
def test_a_file_with_a_missing_key_or_another_value_is_refused(copied, name, change, message):
    rewrite(copied, change, name)
    with pytest.raises(ShardError, match=f"{name} is {message}"):
        Index.open(copied)
        ShardRecord.read(copied / "train-000000.json")
        ShardRecord.read(copied / "train-000001.json")
        PlanRecord.read(copied)


def test_an_unknown_split_is_refused_with_a_list_of_splits(written):
    with pytest.raises(ShardError, match="no split 'valid'") as caught:
        Index.open(written).numbers("valid")
    assert "train, validation, test" in caught.value.hint
