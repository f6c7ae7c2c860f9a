"""Signals during training. A call of `pbkdf2_hmac` stands for one of TensorFlow: long, in C, without the GIL."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from acfnet_tf.errors import Stopped
from acfnet_tf.signals import Interruption

# Imported beside its folder, without the package and hence without TensorFlow.
PROGRAM = """
import hashlib, sys
from signals import Interruption
with Interruption("finishing") as interruption:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(sys.argv[1]))
    print(interruption.signal)
"""
SECOND = 4_000_000  # iterations, of the order of one second


@pytest.fixture
def start():
    """Starts a program that is inside of one call for about that many seconds."""
    processes = []

    def start(seconds: int, stderr: int = subprocess.PIPE) -> subprocess.Popen:
        folder = Path(__file__).parents[1] / "acfnet_tf"
        command = [sys.executable, "-c", PROGRAM, str(seconds * SECOND)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder)
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_remembered(start, number):
    process = start(1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f"{int(number)}\n")
    name = signal.Signals(number).name
    assert err == f"{name}: finishing; a second signal ends at once.\n"


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once(start, first, second):
    process = start(100)
    process.send_signal(first)
    # The line is there at once too, not after the call.
    assert signal.Signals(first).name in process.stderr.readline()
    process.send_signal(second)
    assert process.wait(5) == 128 + second


def test_without_a_reader_of_stderr(start):
    reader, writer = os.pipe()
    process = start(100, writer)
    os.close(reader)
    os.close(writer)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 143


def test_everything_is_restored():
    def state() -> tuple:
        wakeup_fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup_fd)
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        return wakeup_fd, handlers, threading.active_count(), len(os.listdir("/proc/self/fd"))

    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        previous_fd = signal.set_wakeup_fd(writer.fileno())
        try:
            before = state()
            interruption = Interruption("finishing")
            for number in (signal.SIGTERM, signal.SIGINT):
                with interruption:
                    assert interruption.signal is None
                    signal.raise_signal(number)
                assert interruption.signal == number
                assert state() == before
        finally:
            signal.set_wakeup_fd(previous_fd)


def test_other_signals_are_left_alone():
    received = []
    previous = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        with Interruption("finishing") as interruption:
            signal.raise_signal(signal.SIGUSR1)
        assert interruption.signal is None
        with interruption:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)
        assert interruption.signal == signal.SIGTERM
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert received == [signal.SIGUSR1] * 2


def test_outside_of_the_main_thread_nothing_happens():
    seen = []

    def run() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with Interruption("finishing") as interruption:
            seen.append((signal.getsignal(signal.SIGTERM) is before, interruption.signal))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(True, None)]


def test_stopped_has_message_and_status():
    error = Stopped("SIGTERM after step 3", 15)
    assert (str(error), error.status) == ("SIGTERM after step 3", 143)
