"""Shards are complete, have the same bytes on any number of processes, and can be resumed after a kill."""

import errno
import filecmp
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shards import layout
from shards.errors import ShardError
from shards.finalize import merge_set
from shards.index import Index
from shards.verify import verify
from shards.writer import SetPlan
from tests.shards.damage import rewrite
from tests.shards.makers import SCHEMA, arrays, die_at_13, make, make_but_13, write


def same(a, b):
    """Same names, same bytes."""
    names = sorted(p.name for p in a.iterdir())
    return names == sorted(p.name for p in b.iterdir()) and filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


# --- what is written ---


def test_plain_tar_and_numpy_read_what_was_written(written):
    with tarfile.open(written / "train-000001.tar") as archive:
        names = archive.getnames()
        assert names[:3] == ["g0002_v2.observation.npy", "g0002_v2.density.npy", "g0002_v2.json"]
        assert np.array_equal(np.load(io.BytesIO(archive.extractfile(names[1]).read())), arrays(8)["density"])
        info = json.load(archive.extractfile(names[2]))
    assert (info["view"], info["scale"], info["group"], info["key"]) == (2, 0.5, "g0002", "g0002_v2")


def test_plain_webdataset_reads_what_was_written(written):
    webdataset = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(written.glob("train-*.tar"))]
    pairs = webdataset.WebDataset(urls, shardshuffle=False).decode().to_tuple("observation.npy", "density.npy")
    for number, (observation, density) in enumerate(pairs):
        assert np.array_equal(observation, arrays(number)["observation"])
        assert np.array_equal(density, arrays(number)["density"])
    assert number == 36


def test_the_same_input_gives_the_same_bytes_on_any_number_of_workers_and_ranks(written, tmp_path):
    write(tmp_path / "two workers", workers=2)
    assert same(tmp_path / "two workers", written)
    for rank in (2, 0, 1):  # ranks that finish in any order
        report = write(tmp_path / "three ranks", rank=rank, world=3)
        assert report.complete == (rank == 1)
    assert same(tmp_path / "three ranks", written)


def test_no_file_contains_its_folder_or_the_date(written):
    text = b"".join(path.read_bytes() for path in written.glob("*.json"))
    for word in (str(written), written.parent.name, time.strftime("%Y-%m-%d")):
        assert word.encode() not in text


def test_merge_finishes_the_set_of_array_tasks(written, tmp_path):
    write(tmp_path / "set", rank=0, world=2)
    with pytest.raises(ShardError, match=r"lacks 4 finished shards: train-000001\.tar, train-000003\.tar"):
        merge_set(tmp_path / "set")
    with pytest.raises(ShardError, match="has no index") as caught:
        Index.open(tmp_path / "set")
    assert "still being written" in caught.value.hint
    write(tmp_path / "set", rank=1, world=2)
    (tmp_path / "set" / layout.INDEX).unlink()
    assert merge_set(tmp_path / "set").count() == 51
    assert same(tmp_path / "set", written)


def test_a_rank_without_shards_ends_without_error(tmp_path):
    for rank in range(3):
        report = write(tmp_path / "set", plan=SetPlan({"train": range(2)}, 1), rank=rank, world=3)
    assert report.complete and report.shards_written == 0


@pytest.mark.parametrize("name", ["a b%20#?", "ünïcode", "pipe:date", "-n"])
def test_folders_may_have_any_name(tmp_path, name):
    write(tmp_path / name, plan=3)
    assert verify(tmp_path / name).sound and Index.open(tmp_path / name).count() == 3


# --- failures ---


def test_an_input_that_cannot_be_read_is_listed_with_its_reason(tmp_path):
    report = write(tmp_path / "set", make_but_13)
    assert [(f.item, f.shard) for f in report.failed] == [(13, "train-000001.tar")]
    line = json.loads((tmp_path / "set" / layout.FAILURES).read_text())
    assert line["item"] == 13 and "No such file" in line["reason"]
    index = Index.open(tmp_path / "set")
    assert (index.count(), index.failed) == (50, 1)
    assert verify(tmp_path / "set").sound


@pytest.mark.parametrize("encoding", ["float32", "float16-scaled"])
def test_retrying_makes_only_the_failed_samples_again(tmp_path, encoding):
    made, options = [], {"plan": SetPlan({"train": range(20)}, 8), "encoding": encoding}
    write(tmp_path / "undisturbed", **options)
    write(tmp_path / "set", make_but_13, **options)
    report = write(tmp_path / "set", lambda n: made.append(n) or make(n), **options, retry_failed=True)
    assert made == [13] and report.failed == []
    assert same(tmp_path / "set", tmp_path / "undisturbed")


def test_a_shard_without_samples_has_no_tar(tmp_path):
    report = write(tmp_path / "set", lambda number: make(number if number < 200 else "not a number"))
    assert len(report.failed) == 3
    assert not (tmp_path / "set" / "test-000000.tar").exists()
    assert Index.open(tmp_path / "set").splits == {"train": 37, "validation": 11}
    assert verify(tmp_path / "set").sound


def test_a_worker_that_dies_ends_the_run_with_an_error(tmp_path):
    with pytest.raises(ShardError, match="a worker process died"):
        write(tmp_path / "set", die_at_13, plan=SetPlan({"train": range(20)}, 8), workers=2)
    assert not list((tmp_path / "set").glob(".*.part"))


def test_a_full_disk_leaves_no_partial_file_and_a_list_of_unwritten_inputs(tmp_path, monkeypatch):
    from shards import writer

    class FullDisk(writer.Writer):
        def add(self, name, data):
            if self.size > 20_000 and "v1" in name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().add(name, data)

    monkeypatch.setattr(writer, "Writer", FullDisk)
    folder, plan = tmp_path / "set", SetPlan({"train": range(60)}, 40)
    with pytest.raises(ShardError, match=r"train-000000\.tar cannot be written: No space left on device") as caught:
        write(folder, plan=plan)
    assert "--resume" in caught.value.hint
    assert sorted(p.name for p in folder.iterdir()) == [layout.FAILURES, layout.PLAN]
    assert len((folder / layout.FAILURES).read_text().splitlines()) == 40
    monkeypatch.undo()
    assert write(folder, plan=plan, resume=True).complete
    assert not (folder / layout.FAILURES).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    (tmp_path / "set").mkdir(mode=0o500)
    with pytest.raises((ShardError, PermissionError), match="set"):
        write(tmp_path / "set")


# --- the folder ---


def test_a_folder_in_use_is_refused_kept_or_replaced(written, copied):
    with pytest.raises(ShardError, match=r"output folder .* exists") as caught:
        write(copied)
    assert "--resume" in caught.value.hint and "--overwrite" in caught.value.hint
    assert write(copied, resume=True).shards_kept == 8
    (copied / "notes.txt").write_text("mine")
    write(copied, plan=5, overwrite=True)
    left = {"index.json", "notes.txt", "plan.json", "train-000000.json", "train-000000.tar"}
    assert {p.name for p in copied.iterdir()} == left


def test_resuming_builds_only_missing_and_cut_shards(written, copied):
    (copied / "train-000003.json").unlink()
    os.truncate(copied / "train-000001.tar", 1000)
    report = write(copied, resume=True)
    assert (report.shards_written, report.shards_kept) == (2, 6)
    assert same(copied, written)


@pytest.mark.parametrize(
    "change",
    [
        {"made_from": {"observer": "other"}},
        {"encoding": "float16-scaled"},
        {"plan": SetPlan({"train": range(1, 38)}, 8)},
        {"schema": (SCHEMA[0], replace(SCHEMA[1], attributes={"unit": "kg / m3"}))},
    ],
)
def test_resuming_with_other_inputs_or_options_is_refused(copied, change):
    before = {p.name: p.read_bytes() for p in copied.iterdir()}
    with pytest.raises(ShardError, match=r"(train-000000|validation-000000|test-000000)\.tar (was made|is not part)"):
        write(copied, resume=True, **change)
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == before


def test_leftovers_are_temporary_files_and_folders_of_ended_processes(tmp_path):
    dead, alive = (f"{layout._host()}.{pid}.part" for pid in (999999999, os.getppid()))
    for name in (f".set.{dead}", f".set.{alive}", f".set.more.{dead}", f".other.{dead}"):
        (tmp_path / name).mkdir()
    assert layout.leftover_folders(tmp_path / "set") == [tmp_path / f".set.{dead}"]
    elsewhere = tmp_path / ".train-000000.tar.node17.1.part"
    for path in (tmp_path / f".a.tar.{dead}", tmp_path / f".a.tar.{alive}", elsewhere):
        path.touch()
    assert layout.leftovers(tmp_path) == [tmp_path / f".a.tar.{dead}"]
    os.utime(elsewhere, (0, 0))
    assert sorted(layout.leftovers(tmp_path)) == sorted([tmp_path / f".a.tar.{dead}", elsewhere])


# --- what is refused ---


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (lambda s: replace(s, key="snapshot.101"), "contains a dot"),
        (lambda s: replace(s, key="a/b"), "unusable characters"),
        (lambda s: replace(s, key="k" * 65), "has 65 characters"),
        (lambda s: replace(s, arrays={"observation": s.arrays["observation"]}), "the set has observation, density"),
        (lambda s: replace(s, arrays={**s.arrays, "density": s.arrays["density"][0]}), r"is float32 \(6, 10\)"),
        (lambda s: replace(s, arrays={**s.arrays, "density": s.arrays["density"].astype(object)}), "is object"),
        (lambda s: replace(s, arrays={**s.arrays, "density": s.arrays["density"].astype(float)}), "is float64"),
        (lambda s: replace(s, group=3), "the group 3 is not a string"),
        (lambda s: replace(s, info={"key": 1}), "reserved names key"),
        (lambda s: replace(s, info={"x": float("nan")}), "not plain JSON"),
        (lambda s: replace(s, info={"x": {1, 2}}), "not plain JSON"),
    ],
)
def test_a_sample_that_does_not_fit_the_schema_is_a_failure_with_a_reason(tmp_path, sample, message):
    report = write(tmp_path / "set", lambda i: sample(make(i)), plan=SetPlan({"train": [0]}))
    assert re.search(message, report.failed[0].reason)


def test_a_key_or_an_input_used_twice_is_refused(tmp_path):
    def confused(number):
        return replace(make(number), key="same")

    report = write(tmp_path / "one", confused, plan=2)
    assert "key 'same' is already taken" in report.failed[0].reason
    with pytest.raises(ShardError, match=r"key 'same' is in train-000000\.tar and in train-000001\.tar"):
        write(tmp_path / "two", confused, plan=SetPlan({"train": range(2)}, samples_per_shard=1))
    with pytest.raises(ShardError, match=r'the input \["a\.npy",0\] is listed twice'):
        SetPlan({"train": [["a.npy", 0]], "test": [["a.npy", 0]]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": SetPlan({"../train": range(2)})}, r"split name '\.\./train'"),
        ({"rank": 2, "world": 2}, "no rank 2 among 2"),
        ({"rank": -1}, "no rank -1 among 1"),
        ({"world": 0}, "no rank 0 among 0"),
    ],
)
def test_an_unusable_split_name_or_rank_is_refused(tmp_path, options, message):
    with pytest.raises(ShardError, match=message):
        write(tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_any_text_makes_a_safe_key():
    assert layout.safe_key("arepo_like_snapshot_101.hdf5 view 120°") == "arepo_like_snapshot_101-hdf5-view-120"
    assert layout.safe_key("...") == "sample"
    assert layout.check_key(layout.safe_key("é" * 100 + "x" * 100))


# --- killed processes ---

SCRIPT = """
import sys
from pathlib import Path
from shards.writer import SetPlan, write_set
from tests.shards.makers import SCHEMA, make_slowly
if __name__ == "__main__":
    plan = SetPlan({"train": range(150), "test": range(1000, 1030)}, samples_per_shard=8)
    write_set(Path(sys.argv[1]), plan, make_slowly, schema=SCHEMA, attributes={}, workers=2, resume=True)
"""


@pytest.mark.slow
def test_a_killed_run_loses_only_the_shard_that_it_was_writing(tmp_path):
    """kill -9 at random moments, until the set is finished, three times."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment, rng = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}, random.Random(0)

    def start(folder):
        return subprocess.Popen([sys.executable, tmp_path / "script.py", folder], env=environment)

    assert start(tmp_path / "whole").wait() == 0
    finished_at = [path.stat().st_mtime for path in (tmp_path / "whole").glob("*.tar")]
    for name in ("a", "b", "c"):
        folder, finished = tmp_path / name, {}
        folder.mkdir()
        for _ in range(8):
            before, job = set(folder.glob(".*.tar.*")), start(folder)
            while set(folder.glob(".*.tar.*")) <= before and job.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, max(finished_at) - min(finished_at)))
            job.send_signal(signal.SIGKILL)
            job.wait()
            assert all(path.stat().st_mtime_ns == then for path, then in finished.items())
            finished = {path: path.stat().st_mtime_ns for path in folder.glob("*-*.json")}
        assert start(folder).wait() == 0
        assert same(folder, tmp_path / "whole")


@pytest.mark.parametrize("damage", [lambda tar: tar.unlink(), lambda tar: os.truncate(tar, 1000)])
def test_a_set_with_a_missing_or_cut_tar_is_not_finished(copied, damage):
    (copied / "index.json").unlink()
    damage(copied / "train-000001.tar")
    with pytest.raises(ShardError, match=r"lacks 1 finished shard: train-000001\.tar"):
        merge_set(copied)
    assert not (copied / "index.json").exists()
    assert write(copied, resume=True).shards_written == 1
    assert merge_set(copied).count() == 51


def test_a_shard_of_another_build_does_not_finish_the_set(copied):
    rewrite(copied, lambda body: body.update(build_digest="another"), "train-000001.json")
    with pytest.raises(ShardError, match=r"train-000001\.tar was made from other inputs"):
        merge_set(copied)


def test_ranks_can_overwrite_a_set_one_after_another(copied):
    ended = [write(copied, encoding="shuffle-zlib", overwrite=True, rank=rank, world=3) for rank in (2, 0, 1)]
    assert [report.complete for report in ended] == [False, False, True]
    assert merge_set(copied).stored["density"].encoding == "shuffle-zlib"
