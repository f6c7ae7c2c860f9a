"""Windows cover every pixel, none leaves the image, and the last one ends flush with the border."""

from __future__ import annotations

import itertools

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.inference.windows import coverage, window_starts


def starts(*arguments) -> list[int]:
    return window_starts(*arguments).numpy().tolist()


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 100), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.9, 0.999, 1 - 2**-53]))
def test_windows_cover_the_axis(size, window, overlap):
    begins = starts(size, window, overlap)
    covered = [sum(start <= pixel < start + window for start in begins) for pixel in range(size)]
    assert coverage(tf.constant(begins), window, size).numpy().tolist() == covered
    assert min(covered) > 0
    if size <= window:
        assert begins == [0]
        return
    assert begins[0] == 0
    assert begins[-1] == size - window
    assert all(0 < b - a <= window for a, b in itertools.pairwise(begins))


def test_cityscapes_windows():
    assert starts(1024, 769, 1 / 3) == [0, 255]
    assert starts(2048, 769, 1 / 3) == [0, 513, 1026, 1279]


def test_stride_is_not_off_by_one_in_floating_point():
    assert starts(30, 10, 0.9)[:3] == [0, 1, 2]
    assert starts(30, 10, 0.3)[:3] == [0, 7, 14]
