"""Worker processes: results are in order, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shards import pool
from shards.errors import ShardError
from shards.owner import process_start
from shards.pool import worker_pool
from tests.shards.makers import backwards, process_and_whether_it_is_first


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items_and_errors_in_their_place(workers):
    with worker_pool(backwards, workers) as mapped:
        assert list(mapped(range(12))) == [-i for i in range(12)]
        assert list(mapped([])) == []
        assert list(mapped([7])) == [-7]
        results = mapped([1, "two", 3])
        assert next(results) == -1
        with pytest.raises(TypeError):
            next(results)


def test_one_worker_of_each_pool_is_the_first():
    for _ in range(2):
        with worker_pool(process_and_whether_it_is_first, 2) as mapped:
            first = dict(mapped(range(12)))
        assert list(first.values()).count(True) == 1
    assert not pool.is_first


def test_zero_workers_are_refused():
    with pytest.raises(ShardError, match="workers = 0"), worker_pool(backwards, 0):
        pass


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
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
    while any(process_start(worker) is not None for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(process_start(worker) is not None for worker in workers)
