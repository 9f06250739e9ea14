"""Which files of a run folder are kept, deleted, or never touched."""

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.metrics_log import parsed_line
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.checkpoint import VERSION, Checkpoint, DataDescription, Progress, load
from iris_cli.training.run_folder import RunFolder, check_room_for_members, member_folders

DATA = DataDescription("0" * 64, GRID_PRESETS["tiny"], "v_density", "mean")


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run", keep=2)
    made.prepare(resume=False, overwrite=False)
    return made


def checkpoint(step, epoch=0, best=None):
    progress = Progress(epoch, 0, step, None if best is None else 0.5, best)
    return Checkpoint({}, {"weight": torch.full((3,), float(step))}, progress, {}, DATA)


def steps(folder):
    return sorted(int(path.stem[5:]) for path in folder.checkpoints.glob("step-*.pt"))


def test_a_resumed_run_drops_later_metrics_and_a_truncated_line(folder):
    for step in (1, 2, 3):
        folder.log(kind="step", step=step, epoch=0, loss=0.5)
    metrics = folder.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 2, "lo')
    folder.begin(TrainConfig(epochs=7), Progress(step=2))
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [1, 2]
    assert "epochs = 7" in (folder.path / "config.toml").read_text()
    folder.log(step=3, loss=0.4)
    assert json.loads(metrics.read_text().splitlines()[-1]) == {"step": 3, "loss": 0.4}


def test_incomplete_files_of_a_killed_process_are_deleted_and_no_others(folder):
    folder.save(checkpoint(1))
    for name in (".step-000000002.pt.node.1.part", "notes.part"):
        (folder.checkpoints / name).touch()
    folder.prepare(resume=True, overwrite=False)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["notes.part", "step-000000001.pt"]


def test_the_newest_checkpoints_are_kept_and_abandoned_later_ones_are_not(folder):
    for step in (1, 2, 3, 9):
        folder.save(checkpoint(step))
    assert steps(folder) == [3, 9]
    folder.save(checkpoint(5))
    assert steps(folder) == [3, 5]


@pytest.mark.parametrize("links", [True, False])
def test_best_is_a_separate_file(folder, monkeypatch, links):
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", Mock(side_effect=OSError(95, "Operation not supported")))
    folder.save(checkpoint(1, 1, 0), best=True)
    for step in (2, 3, 4):
        folder.save(checkpoint(step))
    path, best = folder.best()
    assert (path.name, best.progress.step) == ("best.pt", 1) and steps(folder) == [3, 4]
    folder.save(checkpoint(5, 2, 1), best=True)
    assert folder.best()[1].progress.step == 5
    assert not list(folder.checkpoints.glob(".*"))


def test_without_a_best_the_newest_is_used(folder, capsys):
    with pytest.raises(DataError, match="holds no checkpoint"):
        folder.best()
    for step in (1, 2):
        folder.save(checkpoint(step))
    (folder.checkpoints / "step-000000002.pt").write_bytes(b"truncated")
    path, best = folder.best()
    assert (path.name, best.progress.step) == ("step-000000001.pt", 1)
    assert "ignoring a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"version": VERSION + 1}, "reads up to", "install a newer release"),
        ({"version": VERSION - 1}, "no longer reads", "train it again"),
        ({"format": "another"}, "is not a checkpoint of this program", "RUN/checkpoints"),
        ({"progress": {"epochs": 3}}, "does not hold what a checkpoint holds", "use an older one"),
        ({"data": torch.zeros(2)}, "holds: data is of another type", "use an older one"),
        ({"colour": "red"}, "does not hold what a checkpoint holds", "use an older one"),
    ],
)
def test_a_checkpoint_of_another_format_is_refused(folder, change, message, hint):
    folder.save(checkpoint(1))
    path = folder.checkpoints / "step-000000001.pt"
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert hint in str(caught.value.hint) and "\n" not in caught.value.message
    with pytest.raises(DataError, match=r"checkpoint .*none\.pt does not exist"):
        load(folder.checkpoints / "none.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"unlogged": 3},
        {"unlogged": [(1.0,)]},
        {"bad": {"train": ["x"]}},
        {"progress": {"step": -1}},
        {"progress": {"best_loss": math.nan}},
        {"progress": None},
        {"model": {"weight": 1.0}},
        {"seen": {"trained": 3}},
        {"ema_steps": 1 << 70},
        {"ema_steps": True},
        {"reverter": {"image_size": 33}},
    ],
    ids=str,
)
def test_a_checkpoint_with_a_value_of_another_type_is_refused(folder, change):
    folder.save(checkpoint(1))
    path = folder.checkpoints / "step-000000001.pt"
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(DataError, match="does not hold what a checkpoint holds"):
        load(path)


def test_a_damaged_checkpoint_is_refused(folder):
    folder.save(checkpoint(1))
    path = folder.checkpoints / "step-000000001.pt"
    data = path.read_bytes()
    for damaged in (b"", b"text", *(data[:size] for size in range(1, len(data), len(data) // 9))):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is not a complete checkpoint"):
            load(path)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        '{"kind": "step", "step": 2, "lo',
        '{"kind": "step", "step": null, "epoch": 0, "loss": 0.5}',
        '{"kind": "step", "step": true, "epoch": 0, "loss": 0.5}',
        '{"kind": "step", "step": 1, "epoch": 0, "loss": "0.5"}',
        '{"kind": "step", "step": 1, "epoch": 0, "loss": 1e999}',
        "[" * 100_000,
    ],
)
def test_a_damaged_line_of_metrics_is_no_line(line):
    assert parsed_line(line) is None


def test_weights_that_do_not_fit_the_network_are_refused():
    with pytest.raises(DataError, match=r"another network or version \(made by iris 0.0.7, .*\): \w.* key") as caught:
        replace(checkpoint(1), reverter=Reverter(32).table(), software={"iris": "0.0.7"}).make_reverter()
    assert caught.value.hint.startswith("train again")
    with pytest.raises(DataError, match="unknown key 'colour'"):
        replace(checkpoint(1), config={"colour": "red"}).settings("run")


def test_the_best_checkpoint_of_a_resumed_run_is_found_among_the_steps(folder):
    folder.save(checkpoint(1, 1, 0), best=True)
    folder.save(checkpoint(2, 2, 1), best=True)
    folder.keep_best_of(load(folder.checkpoints / "step-000000001.pt"))
    assert folder.best()[1].progress.step == 1
    folder.keep_best_of(checkpoint(7, 7, 6))  # its best no longer exists
    assert folder.best()[1].progress.step == 7
    folder.keep_best_of(checkpoint(8))  # has no best
    assert folder.best()[1].progress.step == 7


def test_a_run_folder_is_created_resumed_or_replaced(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.prepare(resume=True, overwrite=False)  # there is nothing to resume yet
    with pytest.raises(UsageError, match="exists"):
        folder.prepare(resume=False, overwrite=False)
    with pytest.raises(UsageError, match="either resumed or replaced"):
        folder.prepare(resume=True, overwrite=True)
    folder.begin(TrainConfig(), Progress())
    folder.log(step=1)
    folder.save(checkpoint(1), best=True)
    folder.prepare(resume=False, overwrite=True)
    assert [path.name for path in folder.path.rglob("*")] == ["checkpoints"]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="exists and is not a folder"):
        RunFolder(tmp_path / "file").prepare(resume=False, overwrite=False)
    with pytest.raises(DataError, match="cannot be created"):
        RunFolder(tmp_path / "file" / "run").prepare(resume=False, overwrite=False)


@pytest.mark.parametrize("config", [None, "epochs = 3\n", "epochs ="])
def test_files_that_do_not_belong_to_a_run_are_not_replaced(tmp_path, config):
    (tmp_path / "metrics.jsonl").write_text("mine")
    if config is not None:
        (tmp_path / "config.toml").write_text(config)
    with pytest.raises(DataError, match="does not hold a run"):
        RunFolder(tmp_path).prepare(resume=False, overwrite=True)
    assert (tmp_path / "metrics.jsonl").read_text() == "mine"


def test_members_are_numbered_folders_and_a_larger_ensemble_is_not_overwritten(tmp_path):
    assert member_folders(tmp_path) == [tmp_path]
    for number in (2, 1, 10):
        (tmp_path / f"member-{number:02d}").mkdir()
    (tmp_path / "member-list.txt").touch()
    assert [path.name for path in member_folders(tmp_path)] == ["member-01", "member-02", "member-10"]
    check_room_for_members(tmp_path, 3)
    with pytest.raises(UsageError, match="holds 3 members, more than the 2 to train"):
        check_room_for_members(tmp_path, 2)
    with pytest.raises(UsageError, match="holds an ensemble of 3"):
        RunFolder(tmp_path).prepare(resume=True, overwrite=False)
    RunFolder(tmp_path / "single").prepare(resume=False, overwrite=False)
    with pytest.raises(UsageError, match="a single run, not an ensemble"):
        check_room_for_members(tmp_path / "single", 3)


def test_a_line_of_metrics_is_written_completely_or_not_at_all(tmp_path):
    resource, folder = pytest.importorskip("resource"), RunFolder(tmp_path)
    folder.log(step=1, loss=0.5)
    before = (tmp_path / "metrics.jsonl").read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(OSError, match=r"metrics\.jsonl"):
            folder.log(step=2, loss=0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "metrics.jsonl").read_text() == before
