"""Programs that are told to end, by SIGTERM or by SIGINT (Ctrl-C)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Remembers the first SIGTERM or SIGINT that arrives inside of its `with` block; a second one ends the process.

    The second one ends it at once, with 128 + its number, even while the main thread is inside of TensorFlow, where
    Python runs no handlers: Python's own C handler writes the number to a socket, which a thread reads.

    `MultiWorkerMirroredStrategy` installs a SIGTERM handler of its own: create it before the block. Outside of the
    main thread, where Python sets no handlers, the block does nothing.

    Attributes:
        signal: the number of the first signal; None before it.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> Interruption:
        self.signal = None
        self._active = threading.current_thread() is threading.main_thread()
        if self._active:
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._thread = threading.Thread(target=self._read, name="interruption", daemon=True)
            self._thread.start()
            self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._previous = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            for number, handler in self._previous.items():
                # None, a handler that was not set from Python, cannot be set again.
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
                    os._exit(128 + number)
                if number in SIGNALS:
                    self.signal = number
                    line = "finishing this step, then writing a checkpoint; a second signal ends at once."
                    # Ctrl-C ends a `tee` that reads stderr as well.
                    with contextlib.suppress(OSError):
                        print(f"{signal.Signals(number).name}: {line}", file=sys.stderr, flush=True)
