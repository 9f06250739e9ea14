"""`--dry-run` prints what the run itself then does, and writes nothing; inputs may be lists in files."""

import io
import json

import pytest

from tests.commands.errors import error_of

VARYING = ("memory_available_bytes", "disk_free_bytes")


def size(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_mock_prints_what_it_then_writes(iris, tmp_path):
    out = tmp_path / "set"
    planned = json.loads(iris("mock", out, "-n", 3, "-m", 2, "--dry-run", "--json").out)
    assert list(tmp_path.iterdir()) == [] and planned["fits"]
    iris("mock", out, "-n", 3, "-m", 2, "-q")
    assert planned["writes"][str(out)] == pytest.approx(size(out), rel=0.01)
    assert "would need --overwrite" in iris("mock", out, "-n", 3, "--dry-run").out
    cone = json.loads(iris("mock", tmp_path / "cone", "-n", 1, "--preset", "full-cone", "--dry-run", "--json").out)
    assert cone["memory_bytes"] < 2e9 < 25e9 < cone["writes"][str(tmp_path / "cone")], "written slab by slab"


@pytest.mark.parametrize("options", [("--litter",), ("--encoding", "float16-scaled")])
def test_preobserve_prints_what_it_does(iris, mocked, tmp_path, options):
    command = ("preobserve", mocked, tmp_path / "shards", "--observer", "simple", "--samples-per-shard", 2, *options)
    planned = json.loads(iris(*command, "--dry-run", "--json").out)
    assert not (tmp_path / "shards").exists()
    assert planned["reads"] == {str(mocked): sum(p.stat().st_size for p in mocked.glob("*.npy"))}
    ran = json.loads(iris(*command, "--json").out)
    assert f"{ran['pairs']} pairs" in planned["computes"] and f"{ran['shards']} shards" in planned["computes"]
    assert planned["writes"][str(tmp_path / "shards")] == pytest.approx(size(tmp_path / "shards"), rel=0.3)
    assert f"has {ran['shards']} of {ran['shards']} shards" in iris(*command, "--dry-run").out


def test_mock_galaxies_that_are_observed_at_once_are_not_read(iris, mocked, tmp_path):
    words = ("preobserve", tmp_path / "shards", "--observer", "simple", "--dry-run", "--json")
    made = json.loads(iris(*words, "--mock", "default", "-n", 6).out)
    kept = json.loads(iris(words[0], mocked, *words[1:]).out)
    assert made["reads"] == {} and {**made, "reads": kept["reads"]} == {**kept, **{k: made[k] for k in VARYING}}


def test_ingest_reads_headers_and_prints_what_it_then_writes(iris, inputs, tmp_path):
    snapshot = inputs["SNAPSHOT"]
    words = ("ingest", snapshot, tmp_path / "out", "--preset", "tiny", "--views", 2, "--memory", 1)
    planned = json.loads(iris(*words, "--dry-run", "--json").out)
    assert not (tmp_path / "out").exists() and planned["reads"] == {str(snapshot): snapshot.stat().st_size}
    assert "1 snapshot with 3000 cells x 2 views" in planned["computes"] and planned["memory_bytes"] == 2**30
    assert iris(*words, "-q").code == 0
    tensors = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.npy"))
    assert planned["writes"][str(tmp_path / "out")] == tensors
    assert "need --resume or --overwrite" in iris(*words, "--dry-run").out


def test_what_does_not_fit_is_a_warning(iris, tmp_path):
    ran = iris("mock", tmp_path / "huge", "-n", 100_000_000, "--preset", "paper", "-w", 4096, "--dry-run")
    assert ran.code == 0 and "free there" in ran.err and "of memory are needed" in ran.err


# --- lists of inputs, verbose messages --------------------------------------------------------------------------------


def test_inputs_come_from_a_list(iris, mocked, tmp_path, monkeypatch):
    iris("mock", tmp_path / "more", "-n", 2, "--seed", 1, "-q")
    (tmp_path / "list.txt").write_text(f"# two data sets\n{mocked}\n\n{tmp_path / 'more'}\n")
    ran = iris("preobserve", f"@{tmp_path / 'list.txt'}", tmp_path / "a", "--observer", "simple", "--json")
    assert json.loads(ran.out)["pairs"] == 8
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{tmp_path / 'a'}\n"))
    found = json.loads(iris("shards", "verify", "-", "--json", "-q").out)
    assert found["sound"] and found["folder"] == str(tmp_path / "a") and found["samples"] == 8
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert "standard input contains no path" in error_of(iris("preobserve", "-", tmp_path / "b"), 2)


def test_verbose_prints_details_and_tracebacks(iris, mocked, tmp_path):
    command = ("preobserve", mocked, tmp_path / "v", "--observer", "simple")
    ran = iris(*command, "-v", "--log-every", 0.1)
    assert "part 1 of 1: 6 pairs" in ran.err and ran.err.count("observing") >= 1
    assert "Traceback" in iris(*command, "-v").err
