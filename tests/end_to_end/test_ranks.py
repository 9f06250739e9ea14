"""The same numbers and the same exit codes on any number of processes."""

import json
import os
import signal
import threading
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from iris_cli.distributed import launch
from tests.end_to_end.launches import ROOT, SHORT, TWO_RANKS, end_of, run, start
from tests.end_to_end.ranks import numbers_of_test, train_with_sampler, train_without_batch_norm
from tests.training.makers import logged, set_nan, write_pairs


@pytest.mark.slow
def test_a_report_of_an_ensemble_has_the_same_numbers_on_two_ranks_and_is_written_once(
    iris, trained_ensemble, shards, tmp_path
):
    words = ("test", trained_ensemble, shards, "-q", "--report")
    assert iris(*words, tmp_path / "one").code == 0
    both = run(*words, tmp_path / "two", *TWO_RANKS)
    assert both.returncode == 0 and both.stdout.count("report.html") == 1, both.stderr
    one, two = (json.loads((tmp_path / name / "report.json").read_text())["sets"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        numbers, others = (
            part[name]["numbers"] | {k: c["y"] for k, c in part[name]["curves"].items()} for part in (one, two)
        )
        for measure, number in numbers.items():
            for part, value in number.items():
                other, this = (np.array(v, float) for v in (others[measure][part], value))  # None is NaN
                np.testing.assert_allclose(other, this, 1e-4, 1e-7, err_msg=f"{name} {measure}")
    again = iris(*words, tmp_path / "two", *TWO_RANKS)
    assert again.code == 1 and again.err.count("error:") == 1 and "exists" in again.err  # no rank was started


@dataclass(frozen=True)
class Ended:
    """What two ranks of ranks.py have printed, and the folder of what they have saved."""

    folder: Path
    out: str
    err: str


def torchrun(*words):
    ran = run("--standalone", "--nproc-per-node=2", *words, module="torch.distributed.run")
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def nan_shards(tmp_path_factory):
    """The second of the first four samples is NaN."""
    folder = tmp_path_factory.mktemp("nan") / "shards"
    write_pairs(folder, {"train": range(13), "validation": range(100, 105)})
    set_nan(folder, "g0002_v1")
    return folder


@pytest.fixture(scope="module")
def ended(shards, nan_shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    ran = torchrun(ROOT / "tests/end_to_end/ranks.py", shards, folder, nan_shards)
    return Ended(folder, ran.stdout, ran.stderr)


def test_two_ranks_with_half_the_batch_take_the_steps_of_one(shards, tmp_path, ended):
    single, _ = train_without_batch_norm(str(shards), batch=4)
    first, second = (torch.load(ended.folder / f"plain-{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in single.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(first[name], second[name])
    one, other = (torch.load(ended.folder / f"normed-{rank}.pt", weights_only=True) for rank in (0, 1))
    differ = {name.rpartition(".")[2] for name in one if not torch.equal(one[name], other[name])}
    assert "running_mean" in {name.rpartition(".")[2] for name in one}
    assert differ <= {"num_batches_tracked"}, differ  # a count that nothing is computed from
    train_with_sampler(str(shards), 4, str(tmp_path))
    losses = [[line["loss"] for line in logged(folder / "sampled" / "samples")] for folder in (tmp_path, ended.folder)]
    assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-5)


def test_the_numbers_of_a_test_on_two_ranks_are_those_of_one(shards, ended):
    first, second = (json.loads((ended.folder / f"test-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and first["pairs"] == 7
    assert first == pytest.approx(numbers_of_test(str(shards)), rel=1e-6)


def test_a_script_trains_and_tests_twice_with_a_wrapped_network(ended):
    assert_trained_twice(ended.out, ended.folder)


@pytest.mark.slow
def test_a_script_trains_and_tests_twice_with_groups_of_the_program(shards, tmp_path):
    assert_trained_twice(torchrun(ROOT / "tests/end_to_end/ten_lines.py", shards, tmp_path, "without").stdout, tmp_path)


def assert_trained_twice(printed, folder):
    said = [tuple(line.split()) for line in printed.splitlines()]
    assert len(said) == 4 and len(set(said)) == 2, "both ranks have the same numbers"
    lines = (folder / "first/metrics.jsonl").read_text().splitlines()
    rates = [line["learning_rate"] for line in map(json.loads, lines) if line["kind"] == "step"]
    assert rates[-1] == 5e-4 and rates[0] == 1e-3
    config = tomllib.loads((folder / "first/config.toml").read_text())
    assert config["physical_loss"] == "Squares" and config["optimizer"]["name"] == "__main__.halving_adam"


def test_a_loss_that_is_not_finite_is_reported_once_with_its_samples(ended):
    assert_reported_once(ended.err)


@pytest.mark.slow
@pytest.mark.parametrize(("on_nan", "code"), [("stop", 1), ("skip", 0)])
def test_a_command_reports_a_nonfinite_loss_once(nan_shards, tmp_path, on_nan, code):
    options = ("--epochs", 1, "--no-checksums", "--on-nan", on_nan, *SHORT, *TWO_RANKS)
    ran = run("train", nan_shards, "--out", tmp_path / "run", *options)
    assert ran.returncode == code, ran.stderr
    assert_reported_once(ran.stderr)


def assert_reported_once(errors):
    """Also for another rank than rank 0: the bad sample is in the share of rank 1 of the first step."""
    reports = [line for line in errors.splitlines() if "is not finite" in line]
    assert len(reports) == 1 and "g0002_v1" in reports[0] and reports[0].count("_v") == 4
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("error", ["run folder", "network"])
def test_an_error_on_all_ranks_is_printed_once(shards, tmp_path, error):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    out, network = ("run", "paper") if error == "run folder" else ("new", "papr")
    ran = run("train", shards, "--out", tmp_path / out, "--network", network, *SHORT, *TWO_RANKS)
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) <= 2, ran.stderr
    assert ran.stderr.count("error:") == 1 and ("exists" if out == "run" else "did you mean 'paper'") in ran.stderr


@pytest.mark.slow
def test_an_ensemble_on_two_ranks_has_a_complete_run_for_each_member(shards, tmp_path):
    words = ("train", shards, "--out", tmp_path / "run", "--epochs", 1, "--members", 2, "--json", *SHORT)
    ran = run(*words, *TWO_RANKS, "--torchrun", f"--max-restarts=0 --log-dir={tmp_path / 'logs'}")
    assert ran.returncode == 0, ran.stderr
    members = json.loads(ran.stdout)["members"]
    assert [Path(m["run"]).name for m in members] == ["member-01", "member-02"]
    first, second = (torch.load(Path(m["run"]) / "checkpoints" / "best.pt", weights_only=True) for m in members)
    assert (first["config"]["seed"], second["config"]["seed"]) == (0, 1)
    name = "sightlines.spectra.enter.weight"
    assert not torch.equal(first["model"][name], second["model"][name])
    assert (tmp_path / "logs").is_dir()  # an option of torchrun itself
    again = run(*words, "--resume")
    assert again.returncode == 0 and json.loads(again.stdout)["members"] == members


# --- the launcher -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ranks_can_be_launched_from_any_thread(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    codes = []
    words = ["train", str(shards), "--out", str(tmp_path / "run"), "--epochs", "1", *SHORT]
    thread = threading.Thread(target=lambda: codes.append(launch(2, words)))
    thread.start()
    thread.join(timeout=120)
    assert codes == [0]


def test_an_unknown_option_of_torchrun_is_refused(iris, shards, tmp_path):
    ran = iris("train", shards, "--out", tmp_path / "run", "--torchrun=--no-such-option", *SHORT)
    assert ran.code == 2 and "--no-such-option" in ran.err and not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find the ranks")
@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGTERM, 75, "saved in"), (signal.SIGKILL, 1, "rank 0 has lost another rank")],
)
def test_a_signal_to_one_rank_stops_all_and_a_rank_that_dies_fails_all(shards, tmp_path, number, code, message):
    process = start(shards, tmp_path / "run", *TWO_RANKS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (rank_1,) = (pid for pid in children if "RANK=1" in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    os.kill(int(rank_1), number)
    ended, errors = end_of(process)
    assert ended == code and message in errors and "Traceback" not in errors, errors
