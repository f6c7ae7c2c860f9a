"""Where the heads differ: which of them is right, which share that is, and how it is painted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from acfnet_tf.visualization import changes
from acfnet_tf.visualization.changes import Changes, find_changes


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 2, st.sampled_from([0, 1, 2, 255])), min_size=1, max_size=30))
def test_changes_say_which_head_is_right(pixels: list[tuple[int, int, int]]) -> None:
    coarse, fine, truth = np.uint8(pixels).T[:, None]
    labels = {"fine": fine, "coarse": coarse}
    found = find_changes(labels, truth, 255)
    for code, (was, became, true) in zip(found.codes[0].tolist(), pixels, strict=True):
        expected = changes.SAME
        if true == 255:
            expected = changes.IGNORED
        elif was != became:
            expected = {became: changes.CORRECTED, was: changes.SPOILT}.get(true, changes.BOTH_WRONG)
        assert code == expected
    known = found.codes[found.codes != changes.IGNORED]
    counted = [(known == kind).sum() for kind in changes.WITH_TRUTH]
    assert [share * max(1, known.size) for share in found.shares] == pytest.approx(counted)
    unknown = find_changes(labels, None, 255)
    np.testing.assert_array_equal(unknown.codes == changes.DIFFERENT, coarse != fine)
    assert set(np.unique(unknown.codes).tolist()) <= {changes.SAME, changes.DIFFERENT}
    assert unknown.shares == [(coarse != fine).mean()]


def test_a_network_with_one_head_has_no_changes() -> None:
    assert find_changes({"fine": np.zeros((2, 2), np.uint8)}, None, 255) is None


def test_changes_are_painted_on_a_grey_image_of_any_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 12, 3), np.uint8)
    painted = Changes(np.uint8([range(6)]), changes.WITH_TRUTH).painted(image)
    for kind in range(6):
        for color in painted[:, 2 * kind : 2 * kind + 2].reshape(-1, 3).tolist():
            if kind in changes.COLORS:
                assert tuple(color) == ImageColor.getrgb(changes.COLORS[kind])
            else:
                assert len(set(color)) == 1
