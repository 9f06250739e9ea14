"""`iris sweep`: configurations of trainings that differ in a few values, and a job array of them."""

import shlex
import subprocess
import sys
import tomllib

import pytest

from iris_cli.commands.sweep import values_of
from iris_cli.errors import UsageError
from tests.commands.errors import done

TWO = ("--set", "optimizer.learning_rate=1e-3,3e-4", "--set", "network=columns,paper")


@pytest.fixture
def swept(iris, tiny_shards, tmp_path):
    folder = tmp_path / "my sweep"
    done(iris("sweep", folder, tiny_shards, *TWO, "--epochs", 1, "--batch-size", 4))
    return folder


def test_every_combination_is_a_configuration(swept, tiny_shards, iris):
    runs = (swept / "runs.txt").read_text().splitlines()
    assert runs[0] == "learning_rate=0.001,network=columns" and len(runs) == len({*runs}) == 4
    for run in runs:
        values = tomllib.loads((swept / "configs" / f"{run}.toml").read_text())
        assert run == f"learning_rate={values['optimizer']['learning_rate']},network={values['network']}"
        assert (values["epochs"], values["batch_size"], values["data"]) == (1, 4, [str(tiny_shards)])
    assert iris("config", "validate", *(swept / "configs").iterdir()).code == 0
    assert iris("sweep", swept, tiny_shards, *TWO, "--epochs", 2).code == 0  # the same runs: written again
    assert "another sweep" in iris("sweep", swept, tiny_shards, *TWO[:2]).err


def test_a_task_of_the_array_trains_one_run(swept, iris):
    script = iris("batch", "sweep", "--gpus", 0, "--at-once", 2, swept).out
    assert "#SBATCH --array=0-3%2" in script
    start = script.replace(f"{shlex.quote(sys.executable)} -P -m iris_cli", "echo")
    place = {"SLURM_ARRAY_TASK_ID": "3", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(["bash", "-c", start], capture_output=True, text=True, timeout=20, check=True, env=place)
    run = "learning_rate=0.0003,network=paper"
    assert ran.stdout.strip() == f"train --config {swept}/configs/{run}.toml --out {swept}/{run} --resume auto"


def test_the_printed_command_trains_all_runs_one_after_the_other(swept, tiny_shards, iris):
    line = iris("sweep", swept, tiny_shards, *TWO, "--trust", "mine").out.rpartition("one after the other: ")[2]
    shown = subprocess.run(["sh", "-c", line.replace(" iris ", " echo ")], capture_output=True, text=True, check=True)
    runs = (swept / "runs.txt").read_text().split()
    options = [f"train --config {swept}/configs/{run}.toml --out {swept}/{run} --resume auto" for run in runs]
    assert shown.stdout.splitlines() == [f"{words} --trust mine" for words in options]


def test_values_are_those_of_toml_or_words():
    assert values_of("seed=0,1") == ("seed", [0, 1])
    assert values_of("noise.sigma_K=0.1, 1e-3") == ("noise.sigma_K", [0.1, 0.001])
    assert values_of("compile=true,false") == ("compile", [True, False])
    assert values_of("network=columns") == ("network", ["columns"])
    assert values_of('litter="a b","c"') == ("litter", ["a b", "c"])
    assert values_of("schedule.halve_after_epochs=[1.0, 2.0],[3.0]")[1] == [[1.0, 2.0], [3.0]]
    for wrong in ("seed", "seed=", "=1", "network=a,,b"):
        with pytest.raises(UsageError, match="KEY=VALUE"):
            values_of(wrong)
