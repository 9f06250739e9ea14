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
from shards.pool import worker_pool
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
