"""What the shell proposes, asked as bash asks."""

import pytest

from iris_cli.commands.complete import MOLECULES
from iris_cli.observers.builtin_molecules import BUILTIN


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("run1", "RUNS/a", "RUNS/b", "ensemble/member-01"):
        (tmp_path / run / "checkpoints").mkdir(parents=True)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/index.json").write_text('{"splits": ["hidden", "train"]}')
    for name in ("cube.fits", "note.txt", ".hidden.fits"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        ("iris trai", "train"),
        ("iris shards ver", "verify"),
        ("iris preobserve --litt", "--litter"),
        ("iris batch train --part", "--partition"),
        ("iris mock out --preset pa", "paper"),
        ("iris train data --network si", "sightlines"),
        ("iris preobserve a b --survey mopra-hnco-", "mopra-hnco-fitted"),
        ("iris surveys grs", "grs-13co10"),
        ("iris molecule hc", "hcn"),
        ("iris config show tin", "tiny tiny-foreground"),
        ("iris test ", "RUNS/a RUNS/b ensemble run1 shards"),
        ("iris view ", "RUNS/a RUNS/b cube.fits ensemble run1 shards"),
        ("iris cube cube.fits --shards ", "shards"),
        ("iris revert run1 cu", "cube.fits"),
        ("iris view RUNS/", "RUNS/a RUNS/b"),
        ("iris runs en", "ensemble"),
        ("iris compare no", ""),
        ("iris test run1 shards --split ", "hidden train"),
        ("iris view elsewhere --split te", "test"),
        ("iris plot lv cube.fits --style m", "mnras"),
    ],
)
def test_what_is_proposed(typed, proposed, iris, folder, monkeypatch):
    monkeypatch.setenv("_IRIS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
    assert sorted(iris().out.split()) == proposed.split()


def test_the_molecules_are_those_that_come_with_iris():
    assert {*MOLECULES} == {name.lower() for name in BUILTIN}
