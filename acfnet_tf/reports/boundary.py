"""How well segments end where they should: Boundary IoU and trimap IoU at several widths, from exact counts.

A pixel lies in the *band* of width d of a label map where another label occurs within d pixels of it (Chebyshev
distance: the window of 2d+1 × 2d+1 around it).

- Boundary IoU of a class (Cheng et al., CVPR 2021): IoU of its pixels in the truth's band and its pixels in the
  prediction's own band. Unlike in its code, which is for single objects, the frame of the image is no boundary: in
  semantic segmentation nearly every class reaches it, and nothing can go wrong there.
- Trimap IoU (Krähenbühl and Koltun, NIPS 2011): plain IoU, counted in the band of the truth only.

Pixels whose truth is ignored count nowhere and make no boundaries, in the prediction neither. A prediction that is no
class is a miss, and a label like another for the bands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.metrics.confusion import ious, valid_pixels


class BoundaryCounts:
    """Pixel counts near boundaries over any number of images, in int64.

    Args:
        num_classes: number of classes N; labels are 0 … N−1.
        widths: of the bands, pixels; none of them makes everything here do nothing.
        ignore_label: truth value of the pixels that are left out.

    Attributes:
        widths: each once, the narrowest first.
        counts: (widths, N, 5) int64; of each class: pixels that are in both bands and right, pixels of the truth in the
            truth's band, of the prediction in its own band; pixels right in the truth's band, predicted in it.

    Raises:
        UserError: a width is not a positive whole number.

    Example:
        >>> counts = BoundaryCounts(num_classes=2, widths=[1])
        >>> counts.update(label=np.array([[0, 0, 0, 1, 1]]), prediction=np.array([[0, 0, 1, 1, 1]]))
        >>> counts.boundary_iou(1), counts.trimap_iou(1)
        (array([0., 0.]), array([0. , 0.5]))
    """

    def __init__(self, num_classes: int, widths: Sequence[int], ignore_label: int = 255) -> None:
        for width in widths:
            if width != int(width) or width < 1:
                raise UserError(f"evaluation.boundary_widths: {width} is no width; give whole pixels, 1 or more")
        self.num_classes = num_classes
        self.widths = tuple(sorted({int(width) for width in widths}))
        self.ignore_label = ignore_label
        self.counts = np.zeros((len(self.widths), num_classes, 5), np.int64)

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Adds the pixels of one image; see `ConfusionMatrix.update`."""
        n = self.num_classes
        valid = valid_pixels(label, prediction, n, self.ignore_label)
        if not self.widths:
            return
        kind = np.min_scalar_type(n + 1)  # Bytes where they suffice: what takes the filters' time is memory.
        truth = np.where(valid, label, 0).astype(kind)
        predicted = np.where((prediction >= 0) & (prediction < n), prediction.astype(kind), kind.type(n))
        bands = [_narrowest_bands(labels, valid, self.widths) for labels in (truth, predicted)]
        near = valid & (np.minimum(*bands) < len(self.widths))
        truth, predicted, of_truth, of_prediction = (
            values[near].astype(np.intp) for values in (truth, predicted, *bands)
        )
        hits = truth == predicted
        of_both = np.maximum(of_truth, of_prediction)
        self.counts += np.stack(
            [
                self._count(of_both[hits], truth[hits]),
                self._count(of_truth, truth),
                self._count(of_prediction, predicted),
                self._count(of_truth[hits], truth[hits]),
                self._count(of_truth, predicted),
            ],
            axis=-1,
        )

    def boundary_iou(self, width: int) -> np.ndarray:
        """Boundary IoU of each class at one of the widths, (N,) float64; nan for a class without boundaries."""
        hits, truth, predicted, _, _ = self._of(width)
        return ious(hits, truth, predicted)

    def trimap_iou(self, width: int) -> np.ndarray:
        """IoU of each class in the truth's band of one of the widths, (N,) float64; nan for a class not in it."""
        _, truth, _, hits, predicted = self._of(width)
        return ious(hits, truth, predicted)

    def _of(self, width: int) -> np.ndarray:
        return self.counts[self.widths.index(width)].T

    def _count(self, bands: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Pixels of each class in the band of each width, (widths, N); what lies in a band lies in all wider ones."""
        shape = len(self.widths) + 1, self.num_classes + 1
        counts = np.bincount(bands * shape[1] + labels, minlength=shape[0] * shape[1]).reshape(shape)
        return counts.cumsum(axis=0)[:-1, :-1]


def near_boundaries(widths: Sequence[int]) -> Callable[[ClassSet], BoundaryCounts]:
    """What `evaluate` makes its counts near boundaries by.

    Raises:
        UserError: when it is called: a width is not a positive whole number.
    """
    return lambda classes: BoundaryCounts(len(classes), widths, classes.ignore_label)


def _narrowest_bands(labels: np.ndarray, valid: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """For each valid pixel, the index of the narrowest band that it lies in; len(widths) where it is in none.

    There is another label in a window if its largest valid label is not its smallest. Every width's windows are made of
    those of the width before.
    """
    # Pixels that do not count get what no maximum, and no minimum, prefers to a label.
    high = np.where(valid, labels, labels.dtype.type(0))
    low = np.where(valid, labels, np.iinfo(labels.dtype).max)
    bands = np.zeros(labels.shape, np.min_scalar_type(len(widths)))
    reached = 0
    for width in widths:
        high, low = _extremes(high, width - reached, np.maximum), _extremes(low, width - reached, np.minimum)
        reached = width
        bands += high == low
    return bands


def _extremes(values: np.ndarray, radius: int, extreme: np.ufunc) -> np.ndarray:
    """The largest or smallest value in the window around each pixel, cut off at the frame.

    Of bytes, this takes less than a tenth of the time of `scipy.ndimage.maximum_filter`, which computes in float64.
    """
    for _ in range(2):
        reach = 0
        while reach < radius:
            step = min(2 * reach + 1, radius - reach)  # The three windows that are united must leave no gap.
            wider = values.copy(order="K")
            extreme(wider[step:], values[:-step], out=wider[step:])
            extreme(wider[:step], values[:1], out=wider[:step])
            extreme(wider[:-step], values[step:], out=wider[:-step])
            extreme(wider[-step:], values[-1:], out=wider[-step:])
            values, reach = wider, reach + step
        values = values.T
    return values
