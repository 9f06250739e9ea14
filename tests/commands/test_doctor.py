"""`iris doctor` finds what is wrong, and advises what to do."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from iris_cli.commands import doctor
from iris_cli.machine import Cores, Disk, Memory


def test_a_healthy_machine_has_a_line_for_each_topic(iris, tiny_shards, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ran = iris("doctor", tiny_shards, "--seconds", 0.5)
    assert ran.code == 0, ran.out
    for topic in ("python", "libraries", "torch", "cuda", "cores", "memory", "disk", "files", "launcher", "reading"):
        assert topic in ran.out
    assert "19 of 19 samples" in " ".join(ran.out.split())  # lines break where a path ends
    found = json.loads(iris("doctor", "--json").out)
    assert found["ok"] and {finding["topic"] for finding in found["findings"]} >= {"torch", "cores", "disk"}


def test_a_damaged_shard_is_found_by_reading_it(iris, tiny_shards, tmp_path):
    shards = shutil.copytree(tiny_shards, tmp_path / "shards")
    for tar in shards.glob("*.tar"):
        data = bytearray(tar.read_bytes())
        for start in range(1024, len(data), 1024):
            data[start] ^= 0xFF
        tar.write_bytes(bytes(data))
    ran = iris("doctor", shards, "--seconds", 2)
    assert ran.code == 1 and "WRONG reading" in ran.out and "->" in ran.out
    ran = iris("doctor", shards / "nowhere")
    assert ran.code == 1 and "WRONG reading" in ran.out


UNEVEN = {"ID": "1", "MIN": "0", "MAX": "9", "COUNT": "3"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RANK": "1", "WORLD_SIZE": "4"}, "left over"),
        ({"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a"}, "would wait for 3 others"),
        ({"RANK": "one", "WORLD_SIZE": "4"}, "is not a number"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK = 4 is not below"),
        ({f"SLURM_ARRAY_TASK_{key}": n for key, n in UNEVEN.items()}, "not evenly spaced"),
        ({}, ""),
        ({"SLURM_JOB_ID": "7"}, ""),
        ({"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "TORCHELASTIC_RUN_ID": "x"}, ""),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, ""),
    ],
)
def test_variables_that_a_launcher_left_behind_are_wrong(environment, words):
    (finding,) = doctor.launcher(environment)
    assert finding.state == (doctor.WRONG if words else doctor.OK) and words in finding.what
    assert bool(finding.advice) == bool(words)


def test_more_threads_than_cores_are_wrong(monkeypatch):
    monkeypatch.setattr(doctor, "cores", lambda: Cores(64, 64, 2.0))
    for threads in ({}, {"OMP_NUM_THREADS": "8"}, {"OMP_NUM_THREADS": "many"}):
        assert [finding.state for finding in doctor._cores(threads)] == ["ok", "WRONG"]
    assert [finding.state for finding in doctor._cores({"OMP_NUM_THREADS": "2"})] == ["ok"]


def test_little_memory_or_disk_is_wrong_and_a_network_disk_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "memory", lambda: Memory(64 * 10**9, 60 * 10**9, 10**9))
    assert [finding.state for finding in doctor._memory()] == ["WRONG"]
    for free, inodes, kind, state, words in (
        (10**12, 10, "ext4", "WRONG", "inodes"),
        (10**6, None, "lustre", "WRONG", "lustre"),
        (10**12, None, "nfs4", "ok", "shared over a network"),
        (10**12, 10**9, "tmpfs", "note", "lost after a restart"),
    ):
        here = Disk(Path.cwd(), free, inodes, kind)
        monkeypatch.setattr(doctor, "disk", lambda folder, here=here: here)
        (finding,) = doctor._disk(Path())
        assert finding.state == state and words in finding.what


def test_a_torch_that_cannot_be_loaded_is_wrong_not_a_traceback(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = doctor._torch()
    assert finding.state == doctor.WRONG and "cannot be loaded" in finding.what


@pytest.mark.parametrize(
    ("trouble", "state", "said"),
    [
        (None, doctor.OK, "same numbers as torch"),
        ("", doctor.NOTE, "Triton is not installed"),
        ("Failed to find C compiler.", doctor.NOTE, "C compiler"),
    ],
)
def test_the_kernel_is_reported(trouble, state, said, monkeypatch):
    monkeypatch.setattr("iris_cli.observers.backends.torch_windows.triton_kernel_error", lambda _: trouble)
    finding = doctor.kernel("cuda:0")
    assert (finding.topic, finding.state) == ("cuda:0", state)
    assert said in finding.what
