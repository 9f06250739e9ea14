"""A test says whether the network was trained on what it is tested on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.pairs.datasets import JoinedPairs
from iris_cli.training.checkpoint import Checkpoint, DataDescription, Progress
from iris_cli.training.test_split import split_to_test, trained_on
from iris_cli.training.trained_run import open_members
from shards.index import Index
from tests.training.makers import pairs_in, write_pairs


def checkpoint_of(fingerprint: str) -> Checkpoint:
    return Checkpoint({}, {}, Progress(), {}, DataDescription(fingerprint, GRID_PRESETS["tiny"], "v_density", "mean"))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sets without splits that hold something out, and one with a test split."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        "one": write_pairs(folder / "one", {"all": range(8)}),
        "other": write_pairs(folder / "other", {"all": range(50, 58)}),
        "split": write_pairs(folder / "split", {"train": range(8), "test": range(80, 84)}),
    }


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_set_is_known_by_its_shards_whatever_its_folder_or_split_and_beside_others(sets: dict[str, Path]) -> None:
    one, other = (Index.open(sets[name]).fingerprint for name in ("one", "other"))
    joined = JoinedPairs([pairs_in(sets["one"]), pairs_in(sets["split"], "train")]).fingerprint
    for fingerprint in (pairs_in(sets["one"]).fingerprint, pairs_in(sets["one"], "all").fingerprint, joined):
        assert trained_on([checkpoint_of(fingerprint)], one) is True
        assert trained_on([checkpoint_of(fingerprint)], other) is False


def test_one_member_that_was_trained_on_it_is_enough(sets: dict[str, Path]) -> None:
    one, other = (Index.open(sets[name]).fingerprint for name in ("one", "other"))
    assert trained_on([checkpoint_of(other), checkpoint_of(one)], one) is True
    assert trained_on([checkpoint_of(""), checkpoint_of(one)], one) is True


@pytest.mark.parametrize("fingerprint", ["", "imported:" + 64 * "a"])
def test_what_a_checkpoint_does_not_say_nobody_knows(sets: dict[str, Path], fingerprint: str) -> None:
    one = Index.open(sets["one"]).fingerprint
    assert trained_on([checkpoint_of(fingerprint)], one) is None
    assert trained_on([checkpoint_of(fingerprint), checkpoint_of(64 * "b")], one) is None
    assert trained_on([], one) is None


def test_a_split_that_was_held_out_is_taken_without_a_word(
    sets: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    trained = [checkpoint_of(pairs_in(sets["split"]).fingerprint)]
    assert split_to_test([str(sets["split"])], None, trained) == "test"
    assert said(capsys) == ""


def test_asking_for_the_split_that_was_trained_on_is_told(
    sets: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    trained = [checkpoint_of(pairs_in(sets["split"]).fingerprint)]
    assert split_to_test([str(sets["split"])], "train", trained) == "train"
    assert "warning: the train split of split is what the network was trained on" in said(capsys)


def test_commands_say_plainly_same_other_or_unknown(
    iris: Callable[..., Any], sets: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained = iris("train", sets["one"], "--out", run, "--epochs", 1, "--batch-size", 4, "-q")
    assert trained.code == 0, trained.err
    same, other = (iris("test", run, sets[name], "-q") for name in ("one", "other"))
    assert same.code == other.code == 0, same.err + other.err
    assert "warning: one is what the network was trained on" in " ".join(same.err.split())
    assert "other is not what the network was trained on" in " ".join(other.err.split())
    assert "warning" not in other.err
    for name, told in (("one", "one is what the network"), ("other", "other is not what the network")):
        drawn = iris("plot", "pair", sets[name], "--run", run, "-o", tmp_path / f"{name}.png")
        assert drawn.code == 0, drawn.err
        assert told in " ".join(drawn.err.split())
    assert open_members(run)[0].checkpoint.data.fingerprint == pairs_in(sets["one"]).fingerprint
