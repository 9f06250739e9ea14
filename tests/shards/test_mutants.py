"""Files of a shard folder that were changed at random, with a right checksum: an error of this library, or data."""

import copy
import json
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iris_cli.commands.shards import _print_info
from iris_cli.errors import IrisError
from iris_cli.pairs.datasets import PreObservedDataset, pairs_of
from shards import layout
from shards.codec import codec_named
from shards.encode_sample import decode
from shards.errors import ShardError
from shards.finalize import finalize_set
from shards.index import Index, ShardRecord, StoredArray
from shards.reader import Reader
from shards.set_plan import PlanRecord
from shards.verify import repair, verify
from tests.shards.makers import SCHEMA, npy
from tests.training.makers import write_pairs

MUTANTS, SECONDS = 2000, 5
VALUES: list[Any] = [None, True, -1, 0, 1, 1 << 70, -1.5, 1e308, "", "x", "../x", "a\0b", "\ud800", "[red]", [], {}]
VALUES += [[[]], {"a": 1}, ["x"], [1, "x"], 10**400, "9" * 5000, "train-000000.tar", "float16-scaled", ">f8", "O"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutants") / "set"
    return write_pairs(folder, {"train": range(5)})


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all values within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutate(body: dict[str, Any], dice: random.Random) -> str:
    """Change one or two values; returns a description."""
    done = []
    for _ in range(dice.choice((1, 1, 2))):
        path = dice.choice(list(places(body)))
        parent = body
        for key in path[:-1]:
            parent = parent[key]
        kind = dice.choice(("value", "value", "delete", "repeat", "number", "swap"))
        old = parent[path[-1]]
        if kind == "delete":
            del parent[path[-1]]
        elif kind == "repeat" and isinstance(old, list):
            parent[path[-1]] = old + old
        elif kind == "number" and type(old) is int:
            parent[path[-1]] = old + dice.choice((-512, -1, 1, 511, 512, 1 << 40))
        elif kind == "swap":
            parent[path[-1]] = copy.deepcopy(_at(body, dice.choice(list(places(body)))))
        else:
            parent[path[-1]] = dice.choice(VALUES)
        done.append(f"{kind} {'/'.join(map(str, path))}")
    return ", ".join(done)


def _at(body: Any, path: tuple) -> Any:
    for key in path:
        body = body[key]
    return body


def sealed(body: dict[str, Any]) -> bytes | None:
    """A file whose checksum is right; None for a body that no JSON file can hold."""
    whole = {key: value for key, value in body.items() if key != "self_checksum"}
    with suppress(ValueError, TypeError, UnicodeEncodeError):
        text = layout.pretty(whole).encode()
        return layout.pretty({**whole, "self_checksum": layout.checksum(text)}).encode()
    return None


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def use_index(folder: Path) -> None:
    index = Index.open(folder)
    _print_info(index, False)
    json.dumps({"fingerprint": index.fingerprint, "splits": index.splits})
    with suppress(IrisError):
        pairs_of(PreObservedDataset(folder))
    use_samples(index)


def use_samples(index: Index) -> None:
    reader = Reader(index)
    index.samples()
    for number in range(min(index.count(), 3)):
        reader.read_new(number)
        reader.info(number)


def use_record(folder: Path) -> None:
    record = ShardRecord.read(folder / "train-000000.json")
    record.to_bytes()
    with suppress(ShardError):
        finalize_set(folder)
    (folder / "index.json").unlink()
    repair(folder)
    use_samples(Index.open(folder))


def use_plan(folder: Path) -> None:
    plan = PlanRecord.read(folder)
    plan.to_bytes()
    plan.unfinished(folder)
    with suppress(ShardError):
        finalize_set(folder)
    (folder / "index.json").unlink(missing_ok=True)
    repair(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "use"), [("index.json", use_index), ("train-000000.json", use_record), ("plan.json", use_plan)]
)
def test_changed_json_is_refused_or_read(
    small: Path, tmp_path: Path, name: str, use: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)
    original = {path.name: path.read_bytes() for path in small.iterdir()}
    body, dice, failures = json.loads(original[name]), random.Random(name), []
    for number in range(MUTANTS):
        changed = copy.deepcopy(body)
        what = mutate(changed, dice)
        data = sealed(changed)
        if data is None:
            continue
        for path in tmp_path.iterdir():
            path.unlink()
        for other, content in {**original, name: data}.items():
            (tmp_path / other).write_bytes(content)
        for attempt in (verify, use):
            try:
                with at_most(SECONDS):
                    attempt(tmp_path)
            except ShardError as error:
                assert len(str(error)) < 6000
            except MemoryError:
                pass  # the program's own message
            except BaseException as error:
                failures.append(f"{number} {attempt.__name__}: {what}: {error!r}"[:300])
        capsys.readouterr()
    assert not failures, "\n".join([f"{len(failures)} of {MUTANTS}", *failures[:40]])


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["float32", "float16-scaled", "shuffle-zlib"])
def test_changed_members_are_refused_or_decoded(encoding: str) -> None:
    codec, dice, failures = codec_named(encoding), random.Random(encoding), []
    stored = StoredArray(SCHEMA[0], encoding, f"observation.{codec.suffix}")
    whole = codec.encode(np.random.default_rng(0).random(SCHEMA[0].shape, np.float32))
    others = [npy(np.zeros(3, kind)) for kind in ("f8", "O", "U3", ">f4", "?", "M8[s]")]
    for number in range(MUTANTS):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            kind = dice.choice(("flip", "header", "cut", "insert", "splice"))
            at = dice.randrange(128 if kind == "header" else max(1, len(data)))
            if kind in ("flip", "header") and at < len(data):
                data[at] = dice.randrange(256)
            elif kind == "cut":
                del data[at : at + dice.randrange(1, 64)]
            elif kind == "insert":
                data[at:at] = dice.choice((b"9" * 30, b"(" * 200, b"\0" * 9, b"-1", b"'" * 3, bytes(range(9))))
            else:
                data[at:] = dice.choice(others)
        try:
            with at_most(SECONDS):
                with suppress(ValueError):
                    codec.describe(memoryview(data))
                with suppress(ValueError):
                    decode(bytes(data), stored)
        except BaseException as error:
            failures.append(f"{number}: {bytes(data[:140])!r}: {error!r}")
    assert not failures, "\n".join([f"{len(failures)} of {MUTANTS}", *failures[:20]])
