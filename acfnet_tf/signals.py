"""Programs that are told to end, by SIGTERM or by SIGINT (Ctrl-C)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def exit_status(number: int) -> int:
    """The status of a process that a signal ended, as shells show it: 143 for SIGTERM, 130 for SIGINT."""
    return 128 + number


class Interruption:
    """Remembers the first SIGTERM or SIGINT inside of its `with` block; a second one ends the process at once.

    It does so even while the main thread is inside of TensorFlow, where Python runs no handlers: Python's own C handler
    writes the number of the signal to a socket, which a thread reads.

    `MultiWorkerMirroredStrategy` installs a SIGTERM handler of its own: create it before the block. Outside of the
    main thread, where Python sets no handlers, the block does nothing.

    Args:
        says: what the program does before it ends; printed at the first signal.

    Attributes:
        signal: the number of the first signal; None before it.
    """

    def __init__(self, says: str) -> None:
        self.says, self.signal = says, None

    def __enter__(self) -> Interruption:
        self.signal, self._arrived = None, threading.Event()
        self._active = threading.current_thread() is threading.main_thread()
        if self._active:
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._thread = threading.Thread(target=self._read, name="interruption", daemon=True)
            self._thread.start()
            self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._previous = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        return self

    def wait(self) -> None:
        """Returns at the first signal."""
        self._arrived.wait()

    def __exit__(self, *_: object) -> None:
        if self._active:
            for number, handler in self._previous.items():
                # None is a handler that was not set from Python; it cannot be set again.
                signal.signal(number, handler or signal.SIG_DFL)
            signal.set_wakeup_fd(self._previous_fd)
            self._writer.close()
            self._thread.join()

    def _read(self) -> None:
        """Reads numbers, those of signals with other handlers too, until the writing end is closed."""
        with self._reader:
            while received := self._reader.recv(1):
                number = received[0]
                if number in SIGNALS and self.signal is not None:
                    os._exit(exit_status(number))
                if number in SIGNALS:
                    self.signal = number
                    self._arrived.set()
                    text = f"{signal.Signals(number).name}: {self.says}; a second signal ends at once."
                    # Ctrl-C ends a `tee` that reads stderr as well.
                    with contextlib.suppress(OSError):
                        print(text, file=sys.stderr, flush=True)
