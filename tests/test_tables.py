"""Numbers in reports."""

from __future__ import annotations

import numpy as np

from acfnet_tf.tables import percent, points


def test_points_have_a_sign_and_none_where_they_are_nothing():
    values = (0.0072, -0.0125, -0.0001, None, np.nan)
    assert [points(value) for value in values] == ["+0.7", "−1.2", "0.0", "–", "–"]


def test_percent():
    assert [percent(0.56304, 2), percent(1), percent(None)] == ["56.30", "100.0", "–"]
