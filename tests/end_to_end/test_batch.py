"""Scripts of `iris batch` run on a cluster, and after a pre-emption continue to the same result."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iris_cli.config.batch import seconds
from iris_cli.config.grid import Grid
from iris_cli.config.mock import MockConfig
from iris_cli.mock.generate import Galaxies, write_mock
from shards.index import Index
from tests.commands.errors import bytes_of
from tests.end_to_end import launches
from tests.snapshots.snapshots import galaxy, write
from tests.training.makers import write_pairs


@pytest.fixture
def cluster(tmp_path):
    """`cluster(script, **environment)` submits a script; {task: [exit code, restarts]}."""
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "srun", "scontrol"):
        command = tmp_path / "bin" / name
        words = shlex.join([sys.executable, str(launches.ROOT / "tests/end_to_end/cluster.py"), name])
        command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        command.chmod(0o755)

    def submit(script, **environment):
        (tmp_path / "job.sh").write_text(script)
        here = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CLUSTER_STATE": str(tmp_path), **environment}
        words = ["sbatch", str(tmp_path / "job.sh")]
        every = launches.environment() | here
        ran = subprocess.run(words, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=every)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return submit


def shell_check(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.slow
def test_two_array_tasks_with_a_pre_emption_write_the_same_set_as_one_command(iris, cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    standard = tmp_path / "my galaxies"  # a name that must be quoted
    write_mock(Galaxies(MockConfig(), Grid().scaled(32, 32, 8, 32), seed=3, views=10), standard, 5, quiet=True)
    words = ("my galaxies", "shards", "--observer", "simple", "--samples-per-shard", 1)
    script = iris("batch", "preobserve", "--array", 2, "--cpus", 1, *words).out
    shell_check(script)
    ended = cluster(script, PREEMPT_TASK="0", PREEMPT_WHEN=str(tmp_path / "shards" / "train-000004.json"))
    assert ended == {"0": [0, 1], "1": [0, 0]}
    log = (tmp_path / "iris-preobserve-4200_0.log").read_text()
    assert "finished shards are kept" in log and "back into the queue" in log
    assert log.count("pairs in") == 1, "the log of the second start follows that of the first"
    assert Index.open(tmp_path / "shards").count() == 50
    assert iris("preobserve", "my galaxies", "single", *words[2:], "-q").code == 0
    assert bytes_of(tmp_path / "shards") == bytes_of(tmp_path / "single")


def test_two_array_tasks_ingest_the_same_set_as_one_command(iris, cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my snapshots").mkdir()
    for seed in range(2):
        write(tmp_path / "my snapshots" / f"snap_{seed}.hdf5", galaxy(1000, seed))
    words = ("my snapshots", "standard", "--preset", "tiny", "--views", 2, "--x-co", 1e-4)
    script = iris("batch", "ingest", "--array", 2, "--cpus", 1, *words).out
    shell_check(script)
    assert "--array=0-1" in script and "--resume" in script
    assert cluster(script) == {"0": [0, 0], "1": [0, 0]}
    assert iris("ingest", "my snapshots", "single", *words[2:], "-q").code == 0
    both = [{p.name: p.read_bytes() for p in Path(name).glob("*.npy")} for name in ("standard", "single")]
    assert both[0] == both[1] and len(both[0]) == 4 and Path("standard/standard.json").is_file()


@pytest.mark.slow
def test_a_training_on_two_nodes_continues_after_a_pre_emption_to_the_same_weights(
    iris, cluster, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs", {"train": range(24), "validation": range(100, 104)})
    short = ("--epochs", 6, "--batch-size", 2, "--accumulate", 1, "--noise-sigma-k", 0.5, "--device", "cpu", "-q")
    words = ("pairs", *short)
    script = iris("batch", "train", "--nodes", 2, "--gpus", 0, "--cpus", 1, *words, "--out", "run").out
    shell_check(script)
    checkpoint = str(tmp_path / "run" / "checkpoints" / "step-000000012.pt")
    assert cluster(script, PREEMPT_TASK="0", PREEMPT_WHEN=checkpoint) == {"0": [0, 1]}
    log = (tmp_path / "iris-train-4200.log").read_text()
    assert "stopped by a signal after step" in log and "back into the queue" in log
    assert "Traceback" not in log

    single = launches.command("train", *words, "--out", "single", *launches.TWO_RANKS)
    subprocess.run(single, check=True, timeout=120, env=launches.environment())
    on_cluster, expected = (sorted((tmp_path / run / "checkpoints").glob("step-*.pt"))[-1] for run in ("run", "single"))
    assert on_cluster.name == expected.name
    one, other = (torch.load(path, weights_only=True) for path in (on_cluster, expected))
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])
    assert one["density_count"] == other["density_count"] == 24, "the mean image is over each pair once"


def test_a_command_that_fails_is_not_queued_again(iris, cluster, tmp_path):
    script = iris("batch", "train", "--gpus", 0, "nowhere", "--out", tmp_path / "run", "-q").out
    assert "srun" not in script and "torch.distributed" not in script
    ended = cluster(script.replace("--output=", f"--output={tmp_path}/"))
    assert ended == {"0": [1, 0]}
    assert "nowhere is not a folder" in (tmp_path / "iris-train-4200.log").read_text()


@pytest.mark.parametrize("command", ["ingest", "preobserve", "train", "test"])
def test_a_script_contains_all_options_and_quotes_all_arguments(iris, command):
    words = {
        "ingest": ("a b", "$(touch gone)", "--views", 4),
        "preobserve": ("a b", "$(touch gone)"),
        "train": ("$(touch gone)", "--out", "r;un"),
        "test": ("r;un", "$(touch gone)", "--split", "`x`"),
    }[command]
    asked = ("--mem", "32G", "--partition", "long", "--account", "p17", "--log", "my logs/%j", "--lead", 300)
    ran = iris("batch", command, *asked, "--directive=--qos=high", "--directive=--exclude=n[1-3]", *words)
    assert ran.code == 0, ran.err
    shell_check(ran.out)
    given = ("--mem=32G", "--partition=long", "--account=p17", '--output="my logs/%j"', "--signal=B:USR1@300")
    for line in (*given, "--qos=high", "--exclude=n[1-3]", "--requeue", "--open-mode=append"):
        assert f"#SBATCH {line}\n" in ran.out, line
    assert "'$(touch gone)'" in ran.out and "module load" in ran.out
    for line in ran.out.splitlines():
        if not line.startswith("#"):
            assert "gone" not in line.replace("'$(touch gone)'", "")
    assert ("--resume" in ran.out) == (command != "test")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "shards", "--out", "run", "--epoch", 3), "--epoch"),
        (("train", "shards"), "--out"),
        (("train", "shards", "--out", "run", "--epochs", 0), "epochs = 0"),
        (("train", "shards", "--out", "run", "--precision", "fp8"), "unknown precision 'fp8'"),
        (("train", "shards", "--out", "run", "--network", "papr"), "did you mean 'paper'"),
        (("train", "shards", "--out", "run", "--nproc-per-node", 2), "--ranks"),
        (("train", "shards", "--out", "run", "--overwrite"), "overwrite its own work"),
        (("train", "shards", "--out", "run", "--resume", "other.pt"), "each start would resume"),
        (("train", "--scheduler", "lsf", "--nodes", 2, "shards", "--out", "run"), "several nodes"),
        (("train", "--scheduler", "pbx", "shards", "--out", "run"), "did you mean 'pbs'"),
        (("ingest", "snapshots"), "out"),
        (("ingest", "snapshots", "standard", "--formulas", "cmzz"), "did you mean 'cmz'"),
        (("preobserve", "standard"), "no data set is named"),
        (("preobserve", "shards", "--mock", "absent.toml"), "absent.toml"),
        (("preobserve", "-", "shards"), "standard input"),
        (("preobserve", "standard", "shards", "--latitude", "median"), "unknown latitude 'median'"),
        (("preobserve", "--account", "3'2", "standard", "shards"), "#SBATCH"),
        (("preobserve", "--mem", "32 apples", "standard", "shards"), "not an amount of memory"),
        (("preobserve", "--time", "a while", "standard", "shards"), "not a duration"),
        (("preobserve", "--time", "1", "standard", "shards"), "plain numbers are minutes"),
        (("preobserve", "stan\ndard", "shards"), "control characters"),
        (("preobserve", "standard", "shards", "--config", "nowhere.toml"), "does not exist"),
    ],
)
def test_errors_of_the_command_are_reported_before_it_is_queued(iris, words, message):
    ran = iris("batch", *words)
    assert ran.code == 2 and ran.out == "" and message in ran.err.lower().replace("#sbatch", "#SBATCH"), ran.err


def test_durations_are_read_as_sbatch_reads_them():
    hours = {"90": 1.5, "90:30": 1.5083333, "24:00:00": 24, "2-12": 60, "2-12:30": 60.5, "1-00:00:36": 24.01}
    for time, expected in {**hours, "UNLIMITED": float("inf")}.items():
        assert seconds(time) == pytest.approx(3600 * expected), time


def test_a_script_makes_the_mock_galaxies_that_its_tasks_observe(iris):
    words = ("shards", "--mock", "default", "-n", 4000, "--seed", 3)
    ran = iris("batch", "preobserve", "--array", 20, *words)
    assert ran.code == 0 and f"preobserve {' '.join(map(str, words))} --resume --workers 4 &" in ran.out, ran.err


@pytest.mark.parametrize("own", [("-w", "3"), ("-w3",), ("-qw3",), ("--workers", "3"), ("--workers=3",)])
def test_a_number_of_workers_in_any_spelling_is_kept(iris, tmp_path, own):
    script = iris("batch", "preobserve", tmp_path / "in", tmp_path / "out", *own).out
    assert "--workers 4" not in script and "--workers 4" in iris("batch", "preobserve", "in", "out").out


# --- other queues -----------------------------------------------------------------------------------------------------

ASKED = ("--cpus", 4, "--mem", "32G", "--time", "1-12:00:30", "--partition", "long", "--account", "p17", "--name", "x")
HEADERS = {
    "pbs": [
        *("-N x", "-l select=1:ncpus=4:mem=32gb:ngpus=2", "-l walltime=36:00:30"),
        *("-q long", "-A p17", "-j oe", "-r y", "-m ae"),
    ],
    "lsf": [
        *('-J "x"', "-n 4", '-R "span[hosts=1]"', "-M 32GB", '-R "rusage[mem=32GB]"', '-gpu "num=2"', "-W 36:01"),
        *("-q long", "-P p17", "-o x-%J.log", "-r", '-Q "75"', "-m ae"),
    ],
}


@pytest.mark.parametrize("scheduler", HEADERS)
def test_a_header_has_the_options_of_its_queue(iris, scheduler):
    words = ("--scheduler", scheduler, *ASKED, "--gpus", 2, "--directive=-m ae")
    script = iris("batch", "train", *words, "shards", "--out", "run").out
    shell_check(script)
    assert re.findall(r"^#(?:PBS|BSUB) (.*)$", script, flags=re.M) == HEADERS[scheduler]
    assert f" --signal=TERM {36 * 3600 + 30 - 120} " in script and "--resume auto --nproc-per-node 2 &" in script
    assert (
        "SLURM" not in script and "srun" not in script and "timeout" not in iris("batch", "train", "a", "-o", "b").out
    )


@pytest.mark.parametrize(
    ("scheduler", "line", "variable", "task"),
    [
        ("slurm", "#SBATCH --array=0-2%2", "SLURM_ARRAY_TASK_ID", "1"),
        ("pbs", "#PBS -J 0-2%2", "PBS_ARRAY_INDEX", "1"),
        ("lsf", '#BSUB -J "iris-train[1-3]%2"', "LSB_JOBINDEX", "2"),
    ],
)
def test_each_task_of_an_array_trains_a_member_of_an_ensemble(iris, tmp_path, scheduler, line, variable, task):
    words = ("--scheduler", scheduler, "--gpus", 0, "--at-once", 2, "a b", "--out", tmp_path / "r n", "--members", 3)
    script = iris("batch", "train", *words, "--seed", 5).out
    shell_check(script)
    assert line in script.splitlines()
    ended = run_with(script, 'echo "${IRIS_PART-1}/${IRIS_PARTS-3} $*"', tmp_path, **{variable: task})
    last = f"--resume auto --members 1 --seed 6 --out {tmp_path}/r n/member-02"
    assert ended.stdout.strip() == f"1/3 train a b --out {tmp_path}/r n --members 3 --seed 5 {last}"


def run_with(script, work, folder, **environment):
    """Run a script with a program of the shell in the place of iris."""
    (folder / "work").write_text(f"#!/bin/sh\n{work}\n")
    (folder / "work").chmod(0o755)
    (folder / "job.sh").write_text(script.replace(f"{shlex.quote(sys.executable)} -P -m iris_cli", f"{folder}/work"))
    here = {"PATH": f"{folder}:/usr/bin:/bin", **environment}
    return subprocess.run(["bash", folder / "job.sh"], capture_output=True, text=True, timeout=30, env=here)


SAVES = "trap 'kill $!; exit 75' TERM; sleep 20 & wait"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scheduler", "pbs"), "submit this script again"),
        (("--scheduler", "pbs", "--chain", 2), "the next job of the chain resumes"),
        (("--scheduler", "lsf"), "back into the queue"),
    ],
)
def test_before_the_time_limit_the_work_is_asked_to_save(iris, tmp_path, words, said):
    script = iris("batch", "train", *words, "--time", "0:00:11", "--lead", 10, "shards", "--out", "run").out
    ended = run_with(script, SAVES, tmp_path, PBS_JOBID="7", LSB_JOBID="7")
    assert ended.returncode == 75 and said in ended.stderr
    ended = run_with(script, "exit 3", tmp_path, PBS_JOBID="7", LSB_JOBID="7")
    assert ended.returncode == 3 and said not in ended.stderr


@pytest.mark.parametrize(
    ("scheduler", "submits", "answer", "after"),
    [
        ("slurm", "sbatch", "$n;cluster", ["--parsable", "--dependency=afterany:{}"]),
        ("pbs", "qsub", "$n.server", ["-W", "depend=afterany:{}.server"]),
        ("lsf", "bsub", "Job <$n> is submitted to queue <long>.", ["-w", "ended({})"]),
    ],
)
def test_a_chain_submits_jobs_that_wait_for_each_other(iris, tmp_path, scheduler, submits, answer, after):
    script = iris("batch", "train", "--scheduler", scheduler, "--chain", 3, "shards", "--out", "run").out
    shell_check(script)
    counted = f'printf \'%s\\n\' "$@" end >> {tmp_path}/asked; n=$(grep -cx end {tmp_path}/asked); echo "{answer}"'
    (tmp_path / submits).write_text(f"#!/bin/sh\n{counted}\n")
    (tmp_path / submits).chmod(0o755)
    ended = run_with(script, "echo ran", tmp_path)
    assert ended.returncode == 0 and "3 jobs were submitted" in ended.stdout and "ran" not in ended.stdout
    asked = [part.split() for part in re.split("^end\n", (tmp_path / "asked").read_text(), flags=re.M)[:-1]]
    script_name = [] if scheduler == "lsf" else [str(tmp_path / "job.sh")]
    assert asked[0] == [word for word in after if "{}" not in word and word not in ("-W", "-w")] + script_name
    assert asked[1:] == [[word.format(n) for word in after] + script_name for n in (1, 2)]
    assert "scontrol requeue" not in script and "-Q" not in script
