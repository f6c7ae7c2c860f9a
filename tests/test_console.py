"""Consoles with few letters, pipes whose reader is gone, streams that are closed or full; without the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import runpy, sys, os
with runpy.run_path("acfnet_tf/console.py")["console"]():
    {}
"""


def run(body: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess:
    command = ["bash", "-c", f'"$0" -c "$1" {redirect}; exit ${{PIPESTATUS[0]}}', sys.executable, PROGRAM.format(body)]
    variables = {**os.environ, **environment}
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_letters_that_the_console_lacks(environment):
    done = run("print(chr(0x2013), 'l' + chr(0xdcff)); print(chr(0x2013), file=sys.stderr)", **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u2013 l\\udcff\n", "\\u2013\n")


@pytest.mark.parametrize("body", ["[print(number, flush=True) for number in range(100_000)]", "print('x' * 70_000)"])
def test_a_reader_that_is_gone_ends_the_program_without_a_word(body):
    done = run(f"{body}; sys.exit('Error: something')", "| head -c 1 >/dev/null")
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_files(closed):
    body = "print('out'); print('err', file=sys.stderr); sys.exit(7 if os.open('/dev/zero', 0) > 2 else 8)"
    assert run(body, closed).returncode == 7


@pytest.mark.parametrize("call", ["os.listdir(", "__import__('pathlib').Path("])
def test_a_file_that_the_system_refuses_is_one_line(call):
    done = run(f"{call}'n' * 300){'.exists()' if 'Path' in call else ''}")
    assert (done.returncode, done.stderr) == (1, f"Error: {'n' * 300}: File name too long\n")


def test_a_full_disk_under_what_is_printed_is_one_line():
    done = run("print('x')", ">/dev/full")
    line = "Error: what is printed cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_quiet_hides_what_python_and_others_write_to_a_stream():
    quiet = "shut = runpy.run_path('acfnet_tf/console.py')['quiet'](1); shut.__enter__()"
    written = "print('a'); os.write(1, b'b'); os.write(2, b'c')"
    done = run(f"{quiet}; {written}; shut.__exit__(None, None, None); print('d')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "d\n", "c")
