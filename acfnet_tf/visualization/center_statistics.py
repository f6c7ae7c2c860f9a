"""Numbers about features, class centers and how they vary (Sections 3.1.1 and 4.3.1), in NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from acfnet_tf.layers.resize import Grid
from acfnet_tf.visualization.inspection import unit_length

PRESENT_SHARE = 0.001
"""A class is present where at least this share of the coarse probability is its own, or some position's most."""


class Plane(NamedTuple):
    """The plane in which features vary most.

    Attributes:
        mean: (C,), its origin.
        axes: (2, C), orthonormal; the entry of largest magnitude of each is positive, so that figures do not flip.
        shares: (2,), of the variance, that each axis shows; 0 where there is none.
    """

    mean: np.ndarray
    axes: np.ndarray
    shares: np.ndarray

    def place(self, features: np.ndarray) -> np.ndarray:
        """Features (…, C) → (…, 2)."""
        return (features - self.mean) @ self.axes.T


def principal_plane(features: np.ndarray) -> Plane:
    """The first two principal components of features (M, C)."""
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    _, deviations, axes = np.linalg.svd(features - mean, full_matrices=False)
    missing = max(0, 2 - len(axes))  # of one position or one channel
    axes = np.pad(axes, ((0, missing), (0, 0)))[:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    variances = np.pad(deviations**2, (0, missing))
    return Plane(mean, np.where(largest < 0, -axes, axes), variances[:2] / max(variances.sum(), 1e-12))


def present_classes(probabilities: np.ndarray) -> np.ndarray:
    """The classes (K,) that a segmentation sees in an image; see `PRESENT_SHARE`.

    Args:
        probabilities: (h, w, N), of the coarse head.
    """
    present = probabilities.mean(axis=(0, 1)) >= PRESENT_SHARE
    present[np.unique(probabilities.argmax(axis=-1))] = True
    return np.flatnonzero(present)


def labels_of_cells(labels: np.ndarray, size: tuple[int, int], grid: Grid) -> np.ndarray:
    """Labels (H, W) at the pixels on which the positions of a feature map of `size` stand."""
    rows, columns = (grid.nearest_pixels(cells, length) for cells, length in zip(size, labels.shape, strict=True))
    return labels[np.ix_(rows, columns)]


def balanced_choice(labels: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` indices into labels (M,), evenly spread over each class, no class with more than its fair part.

    What a small class leaves of its part, larger ones share. Returns ascending indices.
    """
    places = sorted((np.flatnonzero(labels == label) for label in np.unique(labels)), key=len)
    chosen = []
    for done, of_class in enumerate(places):
        count = min(len(of_class), (limit - sum(map(len, chosen))) // (len(places) - done))
        chosen.append(of_class[np.linspace(0, len(of_class) - 1, count).round().astype(int)])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, int)


def scatter_ratio(features: np.ndarray, labels: np.ndarray) -> float:
    """Scatter of features (M, C) within classes over that between classes: tr(S_W) / tr(S_B); small is tight.

    Returns:
        nan where the classes do not differ.
    """
    features = np.asarray(features, np.float64)
    features = features - features.mean(axis=0)
    between = sum(
        (labels == label).sum() * np.square(features[labels == label].mean(axis=0)).sum() for label in np.unique(labels)
    )
    return float(np.square(features).sum() / between - 1) if between > 1e-9 else float("nan")


def nearer_to_own(features: np.ndarray, centers: np.ndarray, labels: np.ndarray, wrong: np.ndarray) -> float:
    """The share of features (M, C) more like the center of their class than that of the class mistaken for it.

    This is how Figure 4 explains why centers help; "like" is by cosine similarity.

    Args:
        centers: (N, C).
        labels: (M,), the classes that are right.
        wrong: (M,), those that were taken instead.
    """
    features, centers = unit_length(features), unit_length(centers)
    return float((np.sum(features * (centers[labels] - centers[wrong]), axis=-1) > 0).mean())


def center_similarities(centers: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How like its center a class looks: in its own image, and if the center is taken from all other images.

    Args:
        centers: (images, N, C'), Eq. 2; nan where a class is not present.
        directions: (images, N, C'), the mean of the unit features of a class's pixels; nan where it has none.

    Returns:
        same and others, each (images, N): the mean, over the pixels of a class in an image, of the cosine similarity
        between their features and the class's center of this image; and the mean of its centers in the other images.
        nan where the class is not in the image, or in no other one.
    """
    # Cosine similarity is blind to length: the sum of the others points where their mean does.
    rest = np.nansum(centers, axis=0) - centers
    same, others = (np.einsum("inc,inc->in", directions, unit_length(each)) for each in (centers, rest))
    alone = np.isfinite(centers[..., 0]).sum(axis=0) < 2
    same[:, alone] = others[:, alone] = np.nan
    return same, others
