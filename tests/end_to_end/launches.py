"""`iris` in processes of its own, as a user starts it."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TWO_RANKS = ("--nproc-per-node", "2")
SHORT = ("--batch-size", "2", "--accumulate", "2", "-q")


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TERM": "xterm"}


def command(*arguments):
    return [sys.executable, "-m", "iris_cli", *map(str, arguments)]


def run(*arguments, module="iris_cli"):
    words = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=120)


def endless(shards, out, *options):
    """A training that does not end by itself while a test waits."""
    return command("train", shards, "--out", out, "--epochs", 1000, *SHORT, *options)


def finished_an_epoch(out):
    metrics = out / "metrics.jsonl"
    return metrics.exists() and '"epoch", ' in metrics.read_text()


def start(shards, out, *options, before=()):
    """An endless training after its first epoch; `before` are words in front of the command."""
    words = [*before, *endless(shards, out, *options)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    deadline = time.monotonic() + 90
    while not finished_an_epoch(out):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    return process


def end_of(process, sent=None):
    """Exit code and standard error, which is complete when the ranks have ended as well, after the signal `sent`."""
    if sent is not None:
        process.send_signal(sent)
    errors = process.communicate(timeout=60)[1]
    return process.returncode, errors
