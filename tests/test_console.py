"""Progress and messages: on a terminal, in a log, and on closed streams."""

import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from iris_cli import console
from iris_cli.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d "


def run(code, **environment):
    line, env = [sys.executable, "-c", code], {**os.environ, **environment}
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=60, env=env)


SLOW = """
import time
from iris_cli.console import progress
with progress("observing", 8) as bar:
    for i in range(8):
        time.sleep(0.06)
        bar.advance(1, "2 failed" if i > 2 else "")
"""


def test_a_log_has_a_stamped_line_every_few_seconds_that_fits_into_80_columns():
    lines = run(SLOW, IRIS_LOG_EVERY="0.2").stderr.splitlines()
    assert len(lines) == 3, lines
    assert re.fullmatch(STAMP + r"observing \d/8, [\d.]+/s, 0:00:00 left, 2 failed", lines[1])
    assert re.fullmatch(STAMP + r"observing 8/8, [\d.]+/s, 0:00:0[01] in all, 2 failed", lines[-1])
    assert max(map(len, lines)) <= 80
    assert len(run(SLOW, IRIS_LOG_EVERY="60").stderr.splitlines()) == 1


def test_the_rate_is_that_of_the_last_lines_not_of_what_a_resumed_job_kept(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    said: list[str] = []
    monkeypatch.setattr(console, "log", said.append)
    lines = console._Lines("observing", 2000, 10.0)
    lines.advance(1000)
    for _ in range(100):
        now[0] += 1.0
        lines.advance()
    assert said[-1] == "observing 1100/2000, 1/s, 0:15:00 left"


def test_a_log_interval_that_is_not_a_number_is_a_usage_error(monkeypatch):
    monkeypatch.setenv("IRIS_LOG_EVERY", "often")
    with pytest.raises(UsageError, match="IRIS_LOG_EVERY = 'often'"):
        console.seconds_between_lines()


def test_work_continues_when_its_log_is_no_longer_read():
    code = f"import os, sys\nr, w = os.pipe()\nos.dup2(w, 2)\nos.close(r); os.close(w)\n{SLOW}\nprint('done')"
    ran = run(code, IRIS_LOG_EVERY="0.1")
    assert ran.stdout == "done\n"


def test_details_are_printed_with_verbose_only(capsys, monkeypatch):
    monkeypatch.delenv("IRIS_VERBOSE", raising=False)
    console.detail("the third shard is kept")
    monkeypatch.setenv("IRIS_VERBOSE", "1")
    console.detail("the fourth shard is kept")
    err = capsys.readouterr().err
    assert "fourth" in err and "third" not in err


def _on_a_terminal(code, **environment):
    """What a program writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    line, env = [sys.executable, "-c", code], {**inherited, **environment}
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=env):
        os.close(theirs)
        said = b""
        with suppress(OSError):  # Linux's word for: the other side is closed
            while read := os.read(ours, 65536):
                said += read
    os.close(ours)
    return said


def test_on_a_terminal_a_bar_waits_at_the_start_of_its_line_so_that_resizing_leaves_nothing_behind():
    said = _on_a_terminal(SLOW, TERM="xterm-256color")
    drawn = said.split(b"\r\x1b[J")[2:]  # before the first, the line has not been drawn
    assert len(drawn) >= 3 and b"observing" in drawn[0]
    assert all(part.endswith(b"\r") for part in drawn[:-1]), drawn
    assert b"2 failed" in said and b"8/8" in said and b"\x1b[32m" in said


def test_a_dumb_terminal_gets_lines_and_no_colour_no_colours():
    assert b"\x1b" not in _on_a_terminal(SLOW, TERM="dumb")
    plain = _on_a_terminal(SLOW, TERM="xterm-256color", NO_COLOR="1")
    assert b"observing" in plain and b"\x1b[32m" not in plain


@pytest.mark.parametrize("width", [24, 40, 80, 200])
def test_no_line_of_a_bar_is_longer_than_the_terminal_is_wide(width):
    bar = console._Bar("samples: epoch 112/400", 2000, lambda: 5000.0, lambda wide: ["#" * wide])
    bar.start -= 100.0
    bar.marks[0] = (bar.start, 0)
    bar.advance(1000, "loss 2.309, 0.183 s/step, 1% waiting, 76.3/s, 0.6 GiB")
    first, *others = bar.lines(width)
    assert max(map(len, (first, *others))) <= width and others[-1] == "#" * width
    assert "1:23:20 left" in first and ("1000/2000" in first) and ("10/s" in first) == (width >= 80)
    assert ("━" * 10 + "─" * 10 in first) == (width >= 80) and ("epoch" in first) == (width > 40)
    assert ", ".join(others[:-1]) == bar.text


def test_a_part_of_a_job_leaves_no_last_line_and_shows_the_time_that_the_whole_job_needs(capsys):
    with console.progress("epoch 1/4", 2, left=lambda: 61.0, last_line=False) as bar:
        bar.advance()
        cast(Any, bar).every_s = 0.0
        bar.advance(1, "loss 1")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(STAMP + r"epoch 1/4 2/2, .*/s, 0:01:01 left, loss 1", line)


def test_plurals():
    assert [console.plural(number, "pair") for number in (0, 1)] == ["0 pairs", "1 pair"]
    assert [console.plural(number, "galaxy", "galaxies") for number in (1, 24)] == ["1 galaxy", "24 galaxies"]
