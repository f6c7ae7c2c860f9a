"""Where the windows of sliding-window inference lie."""

from __future__ import annotations

import math


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First pixel of every window along one axis.

    Windows follow one another by ceil(window · (1 − overlap)) pixels; the last one is moved back to end flush with the
    border. An axis that is not longer than the window has one window, as long as the axis.

    Args:
        size: pixels of the axis.
        window: pixels of a window.
        overlap: share of a window that the next one covers again, in [0, 1).
    """
    if size <= window:
        return [0]
    stride = math.ceil(round(window * (1 - overlap), 6))  # rounded, since 1 − 0.9 is a little more than a tenth
    count = math.ceil((size - window) / stride) + 1
    return [min(index * stride, size - window) for index in range(count)]
