"""`--dry-run` says what the run itself then does, and leaves no trace; lists of inputs are taken as they are."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

Iris = Callable


@pytest.fixture
def standard(iris: Iris, tmp_path: Path) -> Path:
    assert iris("mock", tmp_path / "standard", "-n", 6, "-q").code == 0
    return tmp_path / "standard"


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_mock_says_what_it_then_writes(iris: Iris, tmp_path: Path) -> None:
    out = tmp_path / "set"
    told = json.loads(iris("mock", out, "-n", 3, "-m", 2, "--dry-run", "--json").out)
    assert list(tmp_path.iterdir()) == [] and told["fits"]
    iris("mock", out, "-n", 3, "-m", 2, "-q")
    assert told["writes"][str(out)] == pytest.approx(bytes_in(out), rel=0.01)
    assert "would ask for --overwrite" in iris("mock", out, "-n", 3, "--dry-run").out


@pytest.mark.parametrize("options", [(), ("--litter",), ("--encoding", "float16-scaled")])
def test_preobserve_says_what_it_then_reads_and_writes(
    iris: Iris, standard: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    command = ("preobserve", standard, tmp_path / "shards", "--observer", "simple", "--samples-per-shard", 2, *options)
    told = json.loads(iris(*command, "--dry-run", "--json").out)
    assert not (tmp_path / "shards").exists()
    assert told["reads"] == {str(standard): sum(p.stat().st_size for p in standard.glob("*.npy"))}
    ran = json.loads(iris(*command, "--json").out)
    assert f"{ran['pairs']} pairs" in told["computes"] and f"{ran['shards']} shards" in told["computes"]
    assert told["writes"][str(tmp_path / "shards")] == pytest.approx(bytes_in(tmp_path / "shards"), rel=0.3)
    assert f"has {ran['shards']} of {ran['shards']} shards" in iris(*command, "--dry-run").out


def test_what_does_not_fit_is_a_warning(iris: Iris, tmp_path: Path) -> None:
    ran = iris("mock", tmp_path / "huge", "-n", 100_000_000, "--preset", "paper", "-w", 4096, "--dry-run")
    assert ran.code == 0 and "free there" in ran.err and "of memory are needed" in ran.err


def test_a_dry_run_meets_the_errors_of_the_run(iris: Iris, tmp_path: Path) -> None:
    ran = iris("preobserve", tmp_path / "nothing", tmp_path / "out", "--dry-run")
    assert ran.code == 1 and "is not a folder" in ran.err
    assert iris("preobserve", tmp_path, tmp_path / "out", "--latitude", "min", "--dry-run").code in (1, 2)


def test_inputs_come_from_a_list_in_a_file_or_on_standard_input(
    iris: Iris, standard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iris("mock", tmp_path / "more", "-n", 2, "--seed", 1, "-q")
    (tmp_path / "list.txt").write_text(f"# two sets\n{standard}\n\n{tmp_path / 'more'}\n")
    ran = iris("preobserve", f"@{tmp_path / 'list.txt'}", tmp_path / "a", "--observer", "simple", "--json")
    assert json.loads(ran.out)["pairs"] == 8
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{tmp_path / 'a'}\n"))
    told = json.loads(iris("shards", "verify", "-", "--json", "-q").out)
    assert told["sound"] and told["folder"] == str(tmp_path / "a") and told["samples"] == 8
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    ran = iris("preobserve", "-", tmp_path / "b")
    assert ran.code == 2 and "standard input names no path" in ran.err
    ran = iris("preobserve", "@nowhere.txt", tmp_path / "b")
    assert ran.code == 2 and "nowhere.txt cannot be read" in ran.err


def test_one_unsound_folder_among_many_is_exit_code_3(iris: Iris, standard: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        iris("preobserve", standard, tmp_path / name, "--observer", "simple", "-q")
    tar = next((tmp_path / "b").glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-1024])
    ran = iris("shards", "verify", tmp_path / "a", tmp_path / "b", "-q")
    assert ran.code == 3 and f"{tmp_path / 'a'}: sound" in ran.out and "NOT SOUND" in ran.out


def test_verbose_shows_the_traceback_and_the_pace_is_an_option(iris: Iris, standard: Path, tmp_path: Path) -> None:
    command = ("preobserve", standard, tmp_path / "v", "--observer", "simple")
    ran = iris(*command, "-v", "--log-every", 0.1)
    assert "part 1 of 1: 6 pairs" in ran.err and ran.err.count("observing") >= 1
    assert "Traceback" in iris(*command, "-v").err
