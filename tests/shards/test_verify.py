"""All damage is detected without a crash, and repair restores what the tars allow; tars of other programs."""

import io
import os
import random
import shutil
import tarfile
from contextlib import nullcontext, suppress

import numpy as np
import pytest

from shards import layout
from shards.errors import ShardError
from shards.index import Index
from shards.index_tars import index_tars
from shards.reader import Reader
from shards.stream import BadSamples
from shards.verify import repair, verify
from tests.shards.damage import DAMAGES, flip, payload_of, rewrite, swap
from tests.shards.makers import ATTRIBUTES, SCHEMA, arrays, assert_true, groups_of, npy, stream


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


#: The numbers of which `written` is made, in the order of its samples.
ITEMS = [*range(37), *range(100, 111), *range(200, 203)]


def read_all(folder, bad=None, items=ITEMS):
    """How many samples can be read; each must be the true one."""
    read = 0
    for batch in stream(folder, batch=4, bad=bad, threads=2).epoch():
        assert_true(batch, items)
        read += len(batch)
    return read


def test_a_sound_set_has_no_faults(written):
    report = verify(written)
    assert report.sound and report.faults == report.notes == []
    assert (report.shards, report.samples) == (8, 51)
    assert report.bytes == sum(path.stat().st_size for path in written.glob("*.tar"))


def test_a_flipped_bit_in_any_file_is_detected(copied):
    dice = random.Random(0)
    for path in sorted(copied.iterdir()):
        place, bit = dice.randrange(path.stat().st_size), dice.randrange(8)
        for flipped in (True, False):
            flip(path, place, bit)
            assert verify(copied).sound != flipped, (path.name, place, bit)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_thousand_damages_are_detected(written, tmp_path, damage):
    """A stream stops at each or counts it, or does not read the damaged bytes at all."""
    folder = tmp_path / "damaged"
    for seed in range(84):
        shutil.copytree(written, folder)
        description = damage(random.Random(seed), folder)
        assert not verify(folder).sound, description
        try:
            assert read_all(folder) == 51, description
        except ShardError as error:
            assert error.message, description
            bad = BadSamples(most=51)
            with suppress(ShardError):  # where the index itself is damaged, nothing can be read
                assert read_all(folder, bad) + len(bad.found) == 51 and bad.found, description
        shutil.rmtree(folder)


def both_swapped(folder):
    """Two shards with their records: each pair is sound by itself."""
    for suffix in ("tar", "json"):
        swap(folder / f"train-000001.{suffix}", folder / f"train-000002.{suffix}")


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (lambda f: flip(*payload_of(f, 49), 3), ["test-000000.tar: sample g0067_v0: density: its checksum does not"]),
        (lambda f: (f / "train-000002.tar").unlink(), ["train-000002.tar is missing"]),
        (lambda f: os.truncate(f / "train-000002.tar", 700), ["has 700 bytes instead of"]),
        (lambda f: (f / "train-000002.json").unlink(), ["train-000002.json does not exist", "is planned, but has no"]),
        (lambda f: shutil.copy(f / "train-000001.json", f / "train-000002.json"), ["is the record of train-000001"]),
        (lambda f: rewrite(f, lambda body: body.update(attributes={}), "plan.json"), ["plan.json: disagrees with"]),
        (
            lambda f: rewrite(f, lambda body: body["arrays"][0].update(shape=[60]), "train-000002.json"),
            ["disagrees with index.json", "names other arrays", "holds float32", "holds other arrays"],
        ),
        (lambda f: rewrite(f, lambda body: body["shards"].pop()), ["test-000000.tar: is not in index.json"]),
        (lambda f: rewrite(f, lambda body: body.update(failed=1)), ["index.json: does not follow from"]),
        (lambda f: (f / "failures.jsonl").write_text("{}"), ["failures.jsonl: does not list"]),
        (lambda f: flip(payload_of(f, 49)[0], payload_of(f, 49)[1] - 700, 3), ["test-000000.tar"]),
        (lambda f: os.truncate(f / "train-000002.tar", 1 << 20), ["has 1048576 bytes instead of"]),
        (lambda f: (f / "train-000002.json").write_bytes(b""), ["train-000002.json is damaged"]),
        (lambda f: (f / "index.json").unlink(), ["has no index.json"]),
        (lambda f: swap(f / "train-000001.tar", f / "train-000002.tar"), ["train-000001.tar", "train-000002.tar"]),
        (lambda f: swap(f / "train-000001.json", f / "train-000002.json"), ["files were swapped"]),
        (both_swapped, ["train-000001.json: is the record of train-000002.tar: files were swapped"]),
        (lambda f: shutil.copy(f / "test-000000.tar", f / "test-000001.tar"), ["test-000001.json does not exist"]),
    ],
)
def test_faults_name_the_file_and_what_is_wrong_and_verification_changes_nothing(copied, change, faults):
    """A stream stops at the damage or counts it, or does not read the damaged bytes at all."""
    change(copied)
    before = contents(copied)
    found = "\n".join(map(str, verify(copied).faults))
    assert all(fault in found for fault in faults), found
    assert contents(copied) == before
    with suppress(ShardError):  # where the index itself is damaged, nothing can be read
        count, bad = Index.open(copied).count(), BadSamples(most=51)
        assert read_all(copied, bad) + len(bad.found) == count
        with pytest.raises(ShardError) if bad.found else nullcontext():
            read_all(copied)


def test_a_file_of_a_killed_job_is_a_note_and_not_a_fault(copied):
    (copied / f".test-000000.tar.{layout._host()}.999999999.part").touch()
    report = verify(copied)
    assert report.sound and "left by a killed job" in report.notes[0]


# --- repair ---


@pytest.mark.parametrize("name", ["index.json", "plan.json", "train-000002.json"])
@pytest.mark.parametrize("loss", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:100])])
def test_lost_json_files_are_rebuilt_from_sound_tars(written, copied, name, loss):
    loss(copied / name)
    assert not verify(copied).sound
    repair(copied)
    assert verify(copied).sound
    rebuilt, original = contents(copied), contents(written)
    if name == "train-000002.json":  # the tar holds neither its software nor its build digest
        for changed in (name, "index.json"):
            del rebuilt[changed], original[changed]
    assert rebuilt == original
    found, true = Index.open(copied), Index.open(written)
    assert (found.fingerprint, found.statistics) == (true.fingerprint, true.statistics)


def test_a_set_without_json_files_is_rebuilt_from_its_tars(written, copied):
    for path in copied.glob("*.json"):
        path.unlink()
    index = repair(copied)
    original = Index.open(written)
    assert index.splits == {"test": 3, "train": 37, "validation": 11}
    assert index.statistics == original.statistics
    assert sorted(groups_of(copied)) == sorted(groups_of(written))
    assert verify(copied).sound
    assert read_all(copied) == 51


def test_a_damaged_tar_is_not_in_the_repaired_index(copied):
    path = copied / "train-000001.tar"
    flip(path, path.stat().st_size // 2, 0)
    before = path.read_bytes()
    assert repair(copied).splits["train"] == 29
    assert path.read_bytes() == before
    assert "train-000001.tar" in {fault.file for fault in verify(copied).faults}
    assert read_all(copied, items=[*ITEMS[:8], *ITEMS[16:]]) == 43


def test_repair_detects_a_flipped_bit_without_records(copied):
    """The sample's own json in the tar repeats the checksums."""
    flip(*payload_of(copied, 49), 3)
    for path in copied.glob("*.json"):
        path.unlink()
    assert "test" not in repair(copied).splits


def test_repair_without_a_sound_tar_is_an_error(copied):
    for path in copied.glob("*.tar"):
        path.write_bytes(b"")
    with pytest.raises(ShardError, match="holds no sound tar"):
        repair(copied)


# --- tars of other programs ---


def tar_of(path, members, **types):
    """A tar of these files, and before them entries that are links, devices or folders."""
    with tarfile.open(path, "w") as archive:
        for name, kind in types.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1_700_000_000
            archive.addfile(entry, io.BytesIO(data))


def other_members(keys):
    members = {}
    for key in keys:
        members |= {f"{key}.image.npy": npy(arrays(len(members))["density"]), f"{key}.cls": b"3"}
    return members


def test_tars_written_by_webdataset_can_be_indexed(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"val-{shard:04d}.tar")) as writer:
            for i in range(shard * 5, shard * 5 + 5):
                writer.write({"__key__": f"sub.dir/{i:03d}", "image.npy": arrays(i)["density"], "json": {"group": "g"}})
    index = index_tars(tmp_path)
    assert index.splits == {"val": 10}
    assert set(groups_of(tmp_path)) == {"g"}
    for batch in stream(index, batch=4).epoch():
        for row, number in enumerate(batch.ids):
            assert np.array_equal(batch.arrays["image"][row], arrays(int(number))["density"])
    assert verify(tmp_path).sound


def test_the_split_is_train_unless_the_name_or_the_caller_gives_another(tmp_path):
    tar_of(tmp_path / "data.tar", other_members("ab"))
    index = index_tars(tmp_path)
    assert index.splits == {"train": 2} and sorted(index.arrays) == ["image"]
    (tmp_path / "index.json").unlink()
    assert index_tars(tmp_path, split="test").splits == {"test": 2}
    with pytest.raises(ShardError, match=r"has an index\.json already"):
        index_tars(tmp_path)
    with pytest.raises(ShardError, match="split name 'my split' is not usable"):
        index_tars(tmp_path, split="my split")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (other_members("a") | {"b.cls": b"", "b.json": b"{}"}, "'json' occurs twice, or is missing"),
        (other_members("ab") | {"a.other.npy": npy(np.zeros(3))}, "the key occurs twice"),
        (other_members("a") | {"b.image.npy": npy(np.zeros(2, np.float32))}, r"instead of float32 \(1, 6, 10\)"),
        ({"a.image.npy": npy(np.array([{}, None], object))}, "dtype object"),
        ({"a.image.npy": npy(np.zeros(3, ">f4"))}, "little-endian"),
        ({"a.image.npy": npy(np.asfortranarray(np.zeros((3, 2))))}, "in Fortran order"),
        ({"a.image.npy": b"not an array"}, "is not a .npy|magic string"),
        ({"a.image.npy": npy(np.zeros(3))[:-1]}, "do not match"),
        ({"a.cls": b"1"}, "holds no .npy arrays"),
        ({}, "holds no .npy arrays"),
        ({"a.image.npy": npy(np.zeros(3)), "a.json": b"{"}, "its json is not valid"),
    ],
)
def test_inconsistent_samples_of_other_programs_are_refused(tmp_path, members, message):
    tar_of(tmp_path / "data.tar", members)
    with pytest.raises(ShardError, match=message):
        index_tars(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["data.tar"]


def test_samples_without_json_have_empty_info(tmp_path):
    tar_of(tmp_path / "a-0.tar", {f"{key}.image.npy": npy(np.full(3, n)) for n, key in enumerate("kl")})
    reading = Reader(index_tars(tmp_path))
    assert [reading.info(number) for number in (0, 1)] == [{}, {}]
    assert [reading.key(number) for number in (0, 1)] == ["k", "l"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"b.image.npy": npy(np.zeros(3))}, r"a-1\.tar holds other arrays or encodings"),
        (other_members("k"), r"key 'k' is in a-0\.tar and in a-1\.tar"),
    ],
)
def test_mixed_encodings_and_one_key_in_two_tars_are_refused(tmp_path, members, message):
    tar_of(tmp_path / "a-0.tar", other_members("k"))
    tar_of(tmp_path / "a-1.tar", members)
    with pytest.raises(ShardError, match=message):
        index_tars(tmp_path)


def test_another_json_file_is_not_overwritten(tmp_path):
    tar_of(tmp_path / "data.tar", other_members("a"))
    (tmp_path / "data.json").write_text('{"mine": 1}')
    with pytest.raises(ShardError, match=r"data\.json is in the way"):
        index_tars(tmp_path)
    assert (tmp_path / "data.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.touch(), r"a\.tar is empty \(0 bytes\)"),
        (lambda path: None, r"holds no \.tar file"),
        (lambda path: tarfile.open(path, "w:gz").close(), "not a sound, uncompressed tar"),
        *[
            (lambda path, kind=kind: tar_of(path, {}, a=kind), "not a regular file")
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
        ],
    ],
)
def test_what_is_no_plain_tar_of_files_is_refused(tmp_path, make, message):
    make(tmp_path / "a.tar")
    with pytest.raises(ShardError, match=message):
        index_tars(tmp_path)


def test_folders_in_a_tar_are_skipped(tmp_path):
    tar_of(tmp_path / "a.tar", {"sub/a.image.npy": npy(np.zeros(3))}, sub=tarfile.DIRTYPE)
    assert index_tars(tmp_path).count() == 1


def test_repair_leaves_out_shards_renamed_to_another_split(copied):
    for suffix in ("tar", "json"):
        swap(copied / f"train-000004.{suffix}", copied / f"validation-000001.{suffix}")
    assert not verify(copied).sound
    assert repair(copied).splits == {"train": 32, "validation": 8, "test": 3}
    assert not verify(copied).sound


@pytest.mark.parametrize("name", ["index.json", "plan.json", "train-000001.json"])
def test_files_of_another_version_are_not_repaired(copied, name):
    for lost in {"index.json", "plan.json"} - {name} if name != "index.json" else ():
        (copied / lost).unlink()
    rewrite(copied, lambda body: body.update(version=layout.FORMAT_VERSION - 1), name)
    before = contents(copied)
    with pytest.raises(ShardError, match=rf"{name} is of format version .*no longer reads"):
        repair(copied)
    assert contents(copied) == before


def test_attributes_survive_the_loss_of_the_index_and_all_records(copied):
    for path in copied.glob("*.json"):
        if path.name != "plan.json":
            path.unlink()
    index = repair(copied)
    assert index.attributes == ATTRIBUTES and index.arrays["density"] == SCHEMA[1]
