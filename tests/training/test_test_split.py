"""Which split a test uses, and its warning where the network was trained on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.pairs.datasets import JoinedPairs
from iris_cli.training.checkpoint import Checkpoint, DataDescription, Progress
from iris_cli.training.test_split import split_to_test, trained_on
from shards.index import Index
from tests.training.makers import pairs_in, write_pairs

Patch, Sets = pytest.MonkeyPatch, dict[str, Path]


def checkpoint_of(fingerprint: str) -> Checkpoint:
    return Checkpoint({}, {}, Progress(), {}, DataDescription(fingerprint, GRID_PRESETS["tiny"], "v_density", "mean"))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sets without splits that hold something out, and one with a test split."""
    folder, split = tmp_path_factory.mktemp("sets"), {"train": range(8), "test": range(80, 84)}
    splits: dict[str, dict] = {"one": {"all": range(8)}, "other": {"all": range(50, 58)}, "split": split}
    return {name: write_pairs(folder / name, each) for name, each in splits.items()}


def test_a_set_is_known_by_its_shards_whatever_its_folder_or_split_and_beside_others(sets: dict[str, Path]) -> None:
    one, other = (Index.open(sets[name]).fingerprint for name in ("one", "other"))
    joined = JoinedPairs([pairs_in(sets["one"]), pairs_in(sets["split"], "train")]).fingerprint
    for fingerprint in (pairs_in(sets["one"]).fingerprint, pairs_in(sets["one"], "all").fingerprint, joined):
        assert trained_on([checkpoint_of(fingerprint)], one) is True
        assert trained_on([checkpoint_of(fingerprint)], other) is False
    # one member that was trained on it is enough
    assert trained_on([checkpoint_of(other), checkpoint_of(one)], one) is True
    assert trained_on([checkpoint_of(""), checkpoint_of(one)], one) is True


@pytest.mark.parametrize("fingerprint", ["", "imported:" + 64 * "a"])
def test_without_a_fingerprint_it_is_not_known(sets: dict[str, Path], fingerprint: str) -> None:
    one = Index.open(sets["one"]).fingerprint
    assert trained_on([checkpoint_of(fingerprint)], one) is None
    assert trained_on([checkpoint_of(fingerprint), checkpoint_of(64 * "b")], one) is None
    assert trained_on([], one) is None


def test_only_a_split_that_was_trained_on_has_a_warning(sets: Sets, capsys: pytest.CaptureFixture[str]) -> None:
    trained = [checkpoint_of(pairs_in(sets["split"]).fingerprint)]
    assert split_to_test([str(sets["split"])], None, trained) == "test" and capsys.readouterr().err == ""
    assert split_to_test([str(sets["split"])], "train", trained) == "train"
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: the train split of split is what the network was trained on" in said


def test_commands_warn_of_pairs_that_were_trained_on(
    iris: Callable, trained_run: Path, tiny_shards: Path, sets: dict[str, Path], tmp_path: Path, monkeypatch: Patch
) -> None:
    same = iris("test", trained_run, tiny_shards, "--split", "train", "-q")
    assert same.code == 0, same.err
    assert "warning: the train split of shards is what the network was trained on" in " ".join(same.err.split())
    monkeypatch.setattr("iris_cli.commands.plot_figures.draw_predictions", lambda *shown, **style: Figure())
    for words in (("test", trained_run, sets["one"]), ("plot", "pair", sets["one"], "--run", trained_run, "-o")):
        other = iris(*words, *([tmp_path / "pair.png"] if words[0] == "plot" else []), "-q")
        assert other.code == 0, other.err
        assert "one is not what the network was trained on" in " ".join(other.err.split())
        assert "warning" not in other.err
