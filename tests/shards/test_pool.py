"""Work is shared by arithmetic on the environment, done in order, and leaves no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shards.errors import ShardError
from shards.pool import share_of_job, worker_pool
from tests.shards.makers import backwards

ARRAY = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items_and_not_in_that_of_their_completion(workers):
    with worker_pool(backwards, workers) as mapped:
        assert list(mapped(range(12))) == [-i for i in range(12)]
        assert list(mapped([])) == []
        assert list(mapped([7])) == [-7]


def test_an_error_of_a_worker_is_raised_where_its_result_is_taken():
    with pytest.raises(TypeError), worker_pool(backwards, 2) as mapped:
        list(mapped([1, "two", 3]))


def test_no_workers_is_a_mistake():
    with pytest.raises(ShardError, match="workers = 0"), worker_pool(backwards, 0):
        pass


def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from shards.pool import worker_pool\n"
        "from tests.shards.makers import pid_slowly\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(pid_slowly, 2) as mapped:\n"
        "        for pid in mapped(range(1000)):\n"
        "            print(pid, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(4)}
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10.0
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# --- which part is ours ---


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"}, (1, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # a batch script that runs once
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "3"}, (3, 4)),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "2", "RANK": "1", "WORLD_SIZE": "2"}, (5, 8)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_MAX": "7",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            (2, 3),
        ),  # --array=1-7:3
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_MIN": "5",
                "SLURM_ARRAY_TASK_MAX": "5",
                "SLURM_ARRAY_TASK_COUNT": "1",
            },
            (0, 1),
        ),  # one task of an array, submitted again by itself
    ],
)
def test_the_environment_says_which_part_is_ours(environment, share):
    assert share_of_job(environment) == share


def test_the_tasks_of_an_array_of_ranks_share_everything_and_nothing_twice():
    shares = [
        share_of_job(ARRAY | {"SLURM_ARRAY_TASK_ID": str(t), "SLURM_PROCID": str(p), "SLURM_STEP_NUM_TASKS": "3"})
        for t in range(4)
        for p in range(3)
    ]
    assert sorted(shares) == [(rank, 12) for rank in range(12)]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (ARRAY | {"SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_ID": "1"}, "are not evenly spaced"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN = None is no number"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK = 'one' is no number"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "rank 4 of 4"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environment, words):
    with pytest.raises(ShardError, match=words):
        share_of_job(environment)
