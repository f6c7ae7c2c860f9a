"""Pictures of the page: sizes, where a click leads, what overlays hide."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.layers.resize import Grid
from acfnet_tf.visualization.explore import drawing

CLASSES = numbered_classes(3)
SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(SIZES)
def test_views_keep_the_shape_and_fit_on_a_screen(size):
    height, width = drawing.view_size(size)
    assert max(height, width) <= drawing.LONGEST
    assert max(height, width) >= drawing.SHORTEST
    assert min(height, width) == 1 or abs(height / width / (size[0] / size[1]) - 1) <= 1 / min(height, width)


@given(SIZES, st.data())
def test_a_click_on_what_shows_a_pixel_leads_to_it(size, data):
    x, y = (data.draw(st.integers(0, length - 1)) for length in size[::-1])
    height, width = drawing.view_size(size)
    point = int((x + 0.5) * width / size[1]), int((y + 0.5) * height / size[0])
    found = drawing.pixel_at(point, size)
    assert abs(found[0] - x) <= size[1] / width and abs(found[1] - y) <= size[0] / height
    if max(size) < drawing.SHORTEST:
        assert found == (x, y)


def test_a_click_beyond_the_edge_is_at_the_edge():
    assert drawing.pixel_at((512, 256), (256, 512)) == (511, 255)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 1500))
def test_labels_are_not_mixed(height, width):
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 2 :] = 7
    shown = drawing.on_screen(labels)
    assert shown.shape == drawing.view_size((height, width))
    assert set(np.unique(shown)) <= {0, 7}
    if width > 1:
        assert abs((shown == 7).mean() - (labels == 7).mean()) <= 1 / shown.shape[1]  # a column


def test_overlays_show_the_chosen_classes_only():
    image, labels = np.full((1, 4, 3), 100, np.uint8), np.uint8([[0, 1, 2, 255]])
    drawn = drawing.blend(image, labels, CLASSES, [0, 2], 0.5)
    expected = [np.rint((100 + np.array(CLASSES.colors[label])) / 2) for label in (0, 2)]
    np.testing.assert_array_equal(drawn[0, [0, 2]], expected)
    np.testing.assert_array_equal(drawn[0, [1, 3]], image[0, [1, 3]])
    np.testing.assert_array_equal(drawing.blend(image, labels, CLASSES, [0, 1, 2], 0), image)
    np.testing.assert_array_equal(drawing.blend(image, labels, CLASSES, [0], 1)[0, 0], CLASSES.colors[0])


def test_heat_has_its_extremes_where_the_features_stand():
    hot = drawing.heat(np.float32([[0, 0, 0], [0, 1, 0]]), (600, 900), Grid(400), 0).astype(int).sum(-1)
    assert hot.shape == drawing.view_size((600, 900)) == (600, 900)
    peak = hot == hot.max()
    assert peak[400:, 400].all()  # and below, where the last row goes on
    assert not peak[:300].any() and not peak[:, 500:].any() and not peak[:, :300].any()


def test_a_cross_at_the_pixel_in_every_corner():
    for pixel in ((0, 0), (99, 0), (0, 49), (99, 49)):
        view = drawing.on_screen(np.full((50, 100, 3), 128, np.uint8))
        drawn = drawing.draw_cross(view, pixel, (50, 100))
        rows, columns = np.nonzero((drawn == 255).all(-1))
        at = drawing.pixel_at((int(np.median(columns)), int(np.median(rows))), (50, 100))
        assert abs(at[0] - pixel[0]) <= 2 and abs(at[1] - pixel[1]) <= 2
        assert (view == 128).all()
