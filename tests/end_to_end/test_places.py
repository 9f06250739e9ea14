"""Files of the current folder are not imported, and limits of the machine end in one line."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def iris(*words, cwd, limits=None, **environment):
    """`python -m iris_cli` in a folder, with limits of resources."""

    def limit():
        for number, value in (limits or {}).items():
            resource.setrlimit(number, (value, value))

    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    line = [sys.executable, "-m", "iris_cli", *map(str, words)]
    ran = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, preexec_fn=limit)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "path", [f".:{ROOT}:", *(pytest.param(path, marks=SLOW) for path in (str(ROOT), f":{ROOT}:", f".:{ROOT}"))]
)
def test_no_file_of_the_current_folder_is_imported_by_a_command_or_its_workers(tmp_path, path):
    # Python itself imports the modules that `-m` needs before any line of the program
    for name in ("torch", "random", "queue", "numpy", "shards", "typer", "secrets", "multiprocessing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')\n")
    code, out, err = iris("mock", "out", "-n", 2, "--preset", "tiny", "-w", 2, "-q", cwd=tmp_path, PYTHONPATH=path)
    assert (code, err) == (0, "") and "2 tensors" in out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iris_cli", "torch", "random", "queue", "types"])
def test_ranks_do_not_import_a_file_of_the_current_folder(tmp_path, tiny_shards, name):
    (tmp_path / f"{name}.py").write_text("answer = 42\n")
    words = ["train", tiny_shards, "--out", "run", "--epochs", "1", "--batch-size", "2", "--nproc-per-node", "2", "-q"]
    line = [sys.executable, "-P", "-m", "iris_cli", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0 and (tmp_path / "run" / "metrics.jsonl").is_file(), ran.stderr


def test_too_little_address_space_is_one_line_and_light_commands_still_work(tmp_path):
    little = {resource.RLIMIT_AS: 700 << 20}
    code, _, err = iris("mock", "out", "-q", cwd=tmp_path, limits=little)
    assert code == 1 and "ulimit -v allows 734.0 MB" in err and len(err.splitlines()) == 2
    assert iris("molecule", "13co", cwd=tmp_path, limits=little)[0] == 0


def test_a_file_that_is_too_large_is_named_and_nothing_is_left(tmp_path):
    code, _, err = iris(
        "mock", "out", "-n", 1, "--preset", "tiny", "-q", cwd=tmp_path, limits={resource.RLIMIT_FSIZE: 4096}
    )
    assert code == 1 and "File too large: " in err and "ulimit -f" in err and list(tmp_path.iterdir()) == []


def test_a_current_folder_that_was_removed_is_an_error(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f'rmdir "{gone}"; exec "{sys.executable}" -m iris_cli config'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(["sh", "-c", line], cwd=gone, env=env, capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr.endswith("error: the current folder was removed\nhint: cd to another\n")


@pytest.mark.parametrize(
    "environment",
    [
        {
            "PYTHONIOENCODING": "ascii",
            "PYTHONUTF8": "0",
            "LC_ALL": "C",
            "TMPDIR": "/nonexistent",
            "HOME": "/nonexistent",
        },
        pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=SLOW),
        pytest.param({"COLUMNS": "20"}, marks=SLOW),
        {"COLUMNS": "1", "TERM": "dumb"},
    ],
    ids=str,
)
def test_tables_on_narrow_and_plain_terminals(tmp_path, environment):
    code, out, _ = iris("molecule", "13co", cwd=tmp_path, **environment)
    assert code == 0 and "13CO" in out
