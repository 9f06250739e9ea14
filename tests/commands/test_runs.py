"""`iris runs`: what the files of runs say, also while these are written or where they are damaged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from iris_cli.commands.runs import lines, state_of, states
from shards.owner import owned


def write_run(run, *, epochs, losses, test=None):
    """A run of 10 steps an epoch, of 0.5 s each."""
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").write_text(f'epochs = {epochs}\nnetwork = "columns"\ndata = ["/data/a", "/data/b"]\n')
    metrics = []
    for epoch, loss in enumerate(losses):
        step = {"step": 10 * epoch + 10, "epoch": epoch}
        metrics.append({"kind": "step", "loss": 1.0, "step_s": 0.5, **step})
        metrics.append({"kind": "epoch", "loss": loss, "skill": 1.0 - loss, **step})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    if test:
        (run / "test.json").write_text(json.dumps(test))
    return run


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "good", epochs=2, losses=[0.6, 0.5], test={"skill": 0.45, "mass_ratio": 0.9})
    write_run(tmp_path / "group/member-01", epochs=3, losses=[0.7])
    write_run(tmp_path / "new", epochs=3, losses=[])
    return tmp_path


def test_a_line_for_each_run_with_the_scores_of_its_test(runs, iris):
    ran = iris("runs", runs, "--sort", "loss")
    header, *rows = ran.out.splitlines()
    assert [Path(row.split()[0]).name for row in rows] == ["good", "member-01", "new"]
    assert rows[0].split()[1:8] == ["finished", "2/2", "a,", "b", "columns", "0.5", "0.45"]
    assert "near/far" not in header and rows[0].split()[8:10] == ["0.9", "0:00:10"]  # no run has a near/far
    assert rows[1].split()[1:3] == ["stopped", "1/3"] and rows[2].split()[1:3] == ["stopped", "0/3"]
    best, *_, last = json.loads(iris("runs", runs, "--sort", "skill", "--json").out)["runs"]
    assert (best["skill"], best["bytes"] > 100, last["skill"]) == (0.45, True, None)


def test_a_run_that_is_written_has_its_time_left(runs):
    with owned(runs / "group/member-01"):
        state = state_of(runs / "group/member-01")
        assert (state.state, state.left_seconds) == ("training", 10.0)
        assert "0:00:05, 0:00:10 left" in lines([state])[1]
    assert state_of(runs / "group/member-01").state == "stopped"


def test_a_later_stage_has_a_line_of_its_own(runs):
    write_run(runs / "good/samples", epochs=4, losses=[1.2])
    with owned(runs / "good"):
        found = states([runs / "good"])
    assert [(state.network, state.state, state.epoch) for state in found] == [
        ("columns", "finished", 2),
        ("samples", "training", 1),
    ]


def test_watching_ends_with_the_training(runs, iris, monkeypatch):
    with owned(runs / "new") as held:
        monkeypatch.setattr("time.sleep", lambda s: held.file.unlink(missing_ok=True))
        assert len(iris("runs", runs / "new", "--watch").out.split("stopped")) == 2


def test_damaged_files_are_no_error(runs):
    (runs / "good/config.toml").write_text("epochs = = 3")
    (runs / "good/test.json").write_text("[1")
    with (runs / "good/metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    state = state_of(runs / "good")
    assert (state.state, state.epoch, state.epochs, state.skill) == ("damaged", 2, None, 0.5)


def test_runs_are_found_three_folders_deep(tmp_path, iris):
    write_run(tmp_path / "a/b/c/d/run", epochs=1, losses=[])
    assert "holds no run" in iris("runs", tmp_path).err  # too deep to look
    assert states([tmp_path / "a/b"])[0].epochs == 1


def test_it_imports_no_torch(runs):
    code = "import sys; from iris_cli.app import app; app(['runs', sys.argv[1]], standalone_mode=False); "
    code += "assert not {'torch', 'matplotlib', 'astropy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code, str(runs)], check=True, capture_output=True)
