"""Windows cover every pixel, none leaves the image, and the last one ends flush with the border."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.inference.windows import window_starts


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 100), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.9, 0.999]))
def test_windows_cover_the_axis(size, window, overlap):
    starts = window_starts(size, window, overlap)
    if size <= window:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == size - window
    assert all(0 < b - a <= window for a, b in itertools.pairwise(starts))


def test_cityscapes_windows():
    assert window_starts(1024, 769, 1 / 3) == [0, 255]
    assert window_starts(2048, 769, 1 / 3) == [0, 513, 1026, 1279]


def test_stride_is_not_off_by_one_in_floating_point():
    assert window_starts(30, 10, 0.9)[:3] == [0, 1, 2]
    assert window_starts(30, 10, 0.3)[:3] == [0, 7, 14]
