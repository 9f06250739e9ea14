"""JSON of a shard folder that was changed at random, with a right checksum: an error of this library, or data."""

import json
import shutil
from contextlib import suppress

import numpy as np
import pytest

from iris_cli.commands.shards import _print_info
from iris_cli.errors import IrisError
from iris_cli.pairs.datasets import PreObservedDataset, pairs_of
from shards import layout
from shards.errors import ShardError
from shards.finalize import finalize_set
from shards.index import Index, ShardRecord
from shards.reader import Reader
from shards.set_plan import PlanRecord
from shards.verify import repair, verify
from tests.fuzz import ODD, changed, within
from tests.training.makers import write_pairs

MUTANTS = 2000
VALUES = [*ODD, "a\0b", "9" * 5000, "train-000000.tar", "float16-scaled", ">f8", "O"]


def use_index(folder):
    index = Index.open(folder)
    _print_info(index, False)
    json.dumps({"fingerprint": index.fingerprint, "splits": index.splits})
    with suppress(IrisError):
        pairs_of(PreObservedDataset(folder))
    use_samples(index)


def use_samples(index):
    reader = Reader(index)
    for number in range(min(index.count(), 3)):
        reader.read_new(number)
        reader.info(number)


def use_record(folder):
    ShardRecord.read(folder / "train-000000.json").to_bytes()
    use_samples(finished_and_repaired(folder))


def use_plan(folder):
    plan = PlanRecord.read(folder)
    plan.to_bytes()
    plan.unfinished(folder)
    finished_and_repaired(folder)


def finished_and_repaired(folder):
    with suppress(ShardError):
        finalize_set(folder)
    (folder / "index.json").unlink(missing_ok=True)
    return repair(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("capsys")
@pytest.mark.parametrize(
    ("name", "use"), [("index.json", use_index), ("train-000000.json", use_record), ("plan.json", use_plan)]
)
def test_changed_json_is_refused_or_read(tmp_path, monkeypatch, name, use):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    original, folder = write_pairs(tmp_path / "set", {"train": range(5)}), tmp_path / "changed"
    body, rng = json.loads((original / name).read_text()), np.random.default_rng(list(name.encode()))
    del body["self_checksum"]
    failures = []
    for _ in range(MUTANTS):
        mutant = changed(body, rng, VALUES)
        try:
            data = layout.checksummed_json("", mutant)
        except (ValueError, TypeError):
            continue  # no JSON file can hold it
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        (folder / name).write_bytes(data)
        for attempt in (verify, use):
            try:
                with within(5.0):
                    attempt(folder)
            except (ShardError, MemoryError) as error:  # the program reports both in one line
                assert len(str(error)) < 6000
            except Exception as error:
                failures.append(f"{attempt.__name__}: {error!r}: {mutant}"[:400])
    assert not failures, "\n".join([f"{len(failures)} of {MUTANTS}", *failures[:40]])
