"""Resources of a machine, from files like those of /proc and /sys."""

import os

import pytest

from iris_cli import machine

MEMORY = "MemTotal: 64000000 kB\nMemAvailable: 60000000 kB\n"


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_lowest_limit_of_the_control_groups_counts(tmp_path):
    proc = write(tmp_path / "proc", {"self/cgroup": "0::/job/step\n", "meminfo": MEMORY})
    cpus = {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "150000 100000\n", "cpu.max": "800000 100000\n"}
    groups = write(tmp_path / "sys", cpus | {"job/step/memory.max": "4000000000\n", "memory.max": "max\n"})
    assert machine.cores(groups, proc).quota == 1.5
    memory = machine.memory(groups, proc)
    assert memory.limit == 4_000_000_000 == memory.usable and memory.total == 64_000_000 * 1024


def test_control_groups_of_version_1_are_read(tmp_path):
    mine = "4:memory:/slurm/job_7\n3:cpu,cpuacct:/slurm/job_7\n"
    memory = MEMORY.replace("60000000", "1000")
    proc = write(tmp_path / "proc", {"self/cgroup": mine, "meminfo": memory})
    cpu = {f"cpu/slurm/job_7/cpu.cfs_{name}_us": text for name, text in (("quota", "400000"), ("period", "100000"))}
    groups = write(tmp_path / "sys", cpu | {"memory/slurm/job_7/memory.limit_in_bytes": "8000000000"})
    assert machine.cores(groups, proc).quota == 4.0
    assert machine.memory(groups, proc).limit == 8_000_000_000
    assert machine.memory(groups, proc).usable == 1_024_000


def test_without_a_control_group_nothing_is_limited(tmp_path):
    proc = write(tmp_path, {"meminfo": MEMORY})
    assert machine.memory(tmp_path, proc).limit is None and machine.cores(tmp_path, proc).quota is None
    assert machine.cores().usable >= 1


@pytest.mark.parametrize("name", ["scratch disk", "größe\u2028\xa0 é", "\udcff\\"])
def test_the_file_system_is_that_of_the_innermost_mount(tmp_path, name):
    outer, inner = tmp_path, tmp_path / name
    inner.mkdir()
    escaped = str(inner).replace("\\", "\\134").replace(" ", "\\040")
    lines = [f"22 21 0:2 / {escaped} rw shared:1 - lustre mds:/fs rw", "21 1 0:1 / / rw - ext4 /dev/sda rw"]
    proc = write(tmp_path / "proc", {"self/mountinfo": ""})
    (proc / "self/mountinfo").write_bytes(os.fsencode("\n".join(lines)))
    assert machine.file_system(inner, proc) == "lustre" and machine.file_system(outer, proc) == "ext4"


def test_the_disk_of_a_path_that_does_not_exist_yet(tmp_path):
    disk = machine.disk(tmp_path / "not" / "yet")
    assert disk.where == tmp_path and disk.free > 0


def test_sizes_are_printed_with_suitable_units():
    assert [machine.in_bytes(x) for x in (7, 1500, 2.5e9)] == ["7 bytes", "1.5 kB", "2.5 GB"]
