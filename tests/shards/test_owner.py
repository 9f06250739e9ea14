"""One process, or the parts of one job, writes a folder."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest

from shards import owner
from shards.errors import ShardError
from shards.owner import Owner, owned

OTHER_MACHINE = replace(Owner(), host="node07", machine="node07 another-boot pid:[1]")


@pytest.fixture
def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(owner, "SILENCE_S", 0.3)


def left(folder, by, name=".in-use.0.1.part"):
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(json.dumps(asdict(by)))
    return file


@contextmanager
def another_process(folder, **how):
    script = (
        f"import pathlib, shards.owner as o\nwith o.owned(pathlib.Path({str(folder)!r}), **{how!r}):\n"
        " print('held', flush=True)\n input()"
    )
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield
        process.communicate("\n")


@pytest.mark.parametrize("beside", [False, True])
def test_a_second_process_is_refused_at_once_and_a_third_comes_after_the_first(tmp_path, beside):
    folder = tmp_path / "run"
    with another_process(folder, beside=beside):
        for also in (False, True):
            with pytest.raises(ShardError, match=r"run is being written by process \d+ on .*, since 20"):
                owned(folder, beside=also).__enter__()
    with owned(folder):
        assert len(list(folder.iterdir())) == 1
    assert not list(tmp_path.iterdir()), "an empty folder that was created is removed"


@pytest.mark.parametrize("how", ["ended", "number used again"])
def test_a_file_of_a_process_that_has_ended_is_replaced(tmp_path, ended_process, how):
    gone = replace(Owner(), process=ended_process) if how == "ended" else replace(Owner(), process_start="1")
    left(tmp_path, gone)
    with owned(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".in-use.0.2.part"]
    assert not list(tmp_path.iterdir())


def test_a_process_that_ended_and_was_not_waited_for_has_ended():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.read() == b""  # closed at its end, so that it is a zombie
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not replace(Owner(), process=process.pid, process_start="").lives()
    process.wait()


def test_a_process_of_another_machine_counts_as_ended_when_it_is_silent(tmp_path):
    left(tmp_path, OTHER_MACHINE)
    with owned(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".in-use.0.2.part"]


def test_a_process_of_another_machine_that_renews_its_file_keeps_the_folder(tmp_path):
    file = left(tmp_path, OTHER_MACHINE)
    with pytest.raises(ShardError, match=f"process {os.getpid()} on node07"):
        owned(tmp_path, while_waiting=lambda: os.utime(file)).__enter__()
    assert file.exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"process": 1, "colour": 2}', "[" * 100_000])
def test_a_damaged_file_counts_as_one_of_another_machine(tmp_path, content):
    left(tmp_path, Owner()).write_text(content)
    with owned(tmp_path):
        assert Owner.read(tmp_path / ".in-use.0.2.part") is not None


def test_the_parts_of_a_job_share_a_folder_and_no_other_job_does(tmp_path):
    with another_process(tmp_path, work="a", part=1, parts=3):
        with owned(tmp_path, work="a", part=0, parts=3):
            assert len(list(tmp_path.iterdir())) == 2
        for other in ({"work": "a", "part": 1, "parts": 3}, {"work": "b", "parts": 3}, {"work": "a"}):
            with pytest.raises(ShardError, match="being written"):
                owned(tmp_path, **other).__enter__()


def test_a_process_that_lost_the_folder_finds_out_and_leaves_the_new_file(tmp_path):
    with owned(tmp_path) as held:
        held.check()
        held.file.write_text(json.dumps(asdict(OTHER_MACHINE)))
        with pytest.raises(ShardError, match="no longer written by this process"):
            held.check()
    assert held.file.exists()


def test_the_same_thread_may_enter_again_and_another_may_not(tmp_path):
    refused = []

    def enter():
        try:
            owned(tmp_path).__enter__()
        except ShardError as error:
            refused.append(error)

    with owned(tmp_path), owned(tmp_path):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_the_file_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "RENEW_EVERY_S", 0.01)
    with owned(tmp_path) as held:
        before = held.file.stat().st_mtime_ns
        deadline = threading.Event()
        for _ in range(500):
            if held.file.stat().st_mtime_ns != before:
                break
            deadline.wait(0.01)
        assert held.file.stat().st_mtime_ns != before


@pytest.mark.slow
def test_of_many_processes_that_start_together_one_has_the_folder(tmp_path):
    script = (
        "import pathlib, sys, time, shards.owner as o\n"
        "try:\n with o.owned(pathlib.Path(sys.argv[1])):\n  print('held'); time.sleep(3)\n"
        "except o.ShardError:\n print('refused')"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "run")]
    left(tmp_path / "run", replace(Owner(), process_start="1"))
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = sorted(process.communicate()[0].strip() for process in started)
    assert said == ["held", *["refused"] * 7]
