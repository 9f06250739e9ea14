"""The rank of a process, and its share of a job, follow from the environment alone."""

import pytest

from iris_cli.distributed import first_node
from iris_cli.errors import UsageError
from iris_cli.ranks import share_of_job


def array(task, first=0, last=3, count=4):
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"}, (1, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # a batch script that runs once
        (array(3), (3, 4)),
        (array(2) | {"RANK": "1", "WORLD_SIZE": "2"}, (5, 8)),
        (array(7, 1, 7, 3), (2, 3)),  # --array=1-7:3
        (array(5, 5, 5, 1), (0, 1)),  # one task of an array, submitted again by itself
        ({"IRIS_PART": "2", "IRIS_PARTS": "4"}, (2, 4)),
        ({"IRIS_PART": "2", "IRIS_PARTS": "4", "RANK": "1", "WORLD_SIZE": "3"}, (7, 12)),
    ],
)
def test_the_share_of_a_job_follows_from_the_environment(environment, share):
    assert share_of_job(environment) == share


def test_the_tasks_of_an_array_of_ranks_have_different_shares():
    tasks = [{"SLURM_PROCID": str(p), "SLURM_STEP_NUM_TASKS": "3", **array(t)} for t in range(4) for p in range(3)]
    assert sorted(map(share_of_job, tasks)) == [(rank, 12) for rank in range(12)]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (array(1, last=9), "are not evenly spaced"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN = None is not a number"),
        ({"IRIS_PART": "1"}, "IRIS_PARTS = None is not a number"),
        ({"IRIS_PART": "4", "IRIS_PARTS": "4"}, "IRIS_PART = 4 is not below IRIS_PARTS = 4"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK = 'one' is not a number"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK = 4 is not below WORLD_SIZE = 4"),
    ],
)
def test_an_inconsistent_environment_is_refused(environment, message):
    with pytest.raises(UsageError, match=message):
        share_of_job(environment)


@pytest.mark.parametrize(
    ("nodes", "first"), [("gpu[07-09,12],cpu1", "gpu07"), ("a1,a2", "a1"), ("one", "one"), ("c[3,5]-x", "c3")]
)
def test_the_first_node_of_a_slurm_list_is_found(nodes, first):
    assert first_node(nodes) == first
