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
    assert "would need --overwrite" in iris("mock", out, "-n", 3, "--dry-run").out


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


@pytest.fixture
def shards(iris: Iris, standard: Path, tmp_path: Path) -> Path:
    words = ("--observer", "simple", "--test-fraction", 0.2, "--samples-per-shard", 2, "-q")
    assert iris("preobserve", standard, tmp_path / "shards", *words).code == 0
    return tmp_path / "shards"


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_dry_run_leaves_anything(iris: Iris, standard: Path, shards: Path, tmp_path: Path) -> None:
    from tests.telescope import sky

    cube, before = sky.cube(tmp_path / "cube.fits"), content(tmp_path)
    for words in (
        ("demo", "-o", tmp_path / "demo"),
        ("observe", standard, 0, "-o", tmp_path / "seen.fits"),
        ("cube", cube, "--preset", "tiny", "-o", tmp_path / "lv.npz"),
        ("plot", "lv", shards, "-o", tmp_path / "lv.png"),
        ("plot", "moments", standard, "-o", tmp_path / "moments.png"),
        ("import-checkpoint", cube, tmp_path / "run", "--preset", "tiny"),
        ("shards", "verify", shards, "--repair"),
        ("shards", "merge", shards),
        ("shards", "index", shards),
        ("shards", "preview", shards, "-o", tmp_path / "sample.png"),
        ("train", shards, "-o", tmp_path / "run"),
    ):
        ran = iris(*words, "--dry-run")
        assert ran.code == 0 and "would compute" in ran.out and "would need" in ran.out, (words, ran.err)
        told = json.loads(iris(*words, "--dry-run", "--json").out)
        assert told["dry_run"] and told["memory_bytes"] > 0 and told["fits"], words
    assert content(tmp_path) == before


def test_observe_says_what_it_then_reads_and_writes(iris: Iris, standard: Path, tmp_path: Path) -> None:
    words = ("observe", standard, 0, "-o", tmp_path / "a.fits", "--molecule", "13co", "--molecule", "c18o")
    told = json.loads(iris(*words, "--dry-run", "--json").out)
    written = json.loads(iris(*words, "--json", "-q").out)["files"]
    assert list(told["writes"]) == written
    for path, size in told["writes"].items():
        assert size == pytest.approx(Path(path).stat().st_size, rel=0.1)
    assert list(told["reads"]) == [str(standard / "tensor_000000.npy")]
    ran = iris(*words, "--dry-run")
    assert ran.code == 2 and "--overwrite" in ran.err, "it meets the errors of the run"


def test_ingest_reads_headers_and_says_what_it_then_writes(iris: Iris, tmp_path: Path) -> None:
    from tests.snapshots.snapshots import galaxy, write

    snapshot = write(tmp_path / "snap_101.hdf5", galaxy())
    words = ("ingest", snapshot, tmp_path / "out", "--preset", "tiny", "--views", 2, "--memory", 1)
    told = json.loads(iris(*words, "--dry-run", "--json").out)
    assert not (tmp_path / "out").exists() and told["reads"] == {str(snapshot): snapshot.stat().st_size}
    assert "1 snapshot with 3000 cells x 2 views" in told["computes"] and told["memory_bytes"] == 2**30
    assert iris(*words, "-q").code == 0
    tensors = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.npy"))
    assert told["writes"][str(tmp_path / "out")] == tensors
    assert "need --resume or --overwrite" in iris(*words, "--dry-run").out


def test_a_set_that_is_not_finished_says_what_it_lacks(iris: Iris, shards: Path) -> None:
    (shards / "train-000000.json").unlink()
    assert "1 shard is missing" in iris("shards", "merge", shards, "--dry-run").out


def test_what_is_not_there_cannot_be_drawn_or_read(iris: Iris, tmp_path: Path) -> None:
    for words in (
        ("plot", "lv", tmp_path / "a.fits", "-o", tmp_path / "a.png"),
        ("shards", "verify", tmp_path / "no"),
        ("import-checkpoint", tmp_path / "c.pt", tmp_path / "run", "--preset", "tiny"),
    ):
        ran = iris(*words, "--dry-run")
        assert ran.code == 1 and len(ran.err.splitlines()) == 1, (words, ran)
