"""Where the coarse and the fine head differ, and which of the two is right: for figures, the report and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from acfnet_tf.heads import COARSE, FINE
from acfnet_tf.visualization.palette import resized

SAME, CORRECTED, SPOILT, BOTH_WRONG, DIFFERENT, IGNORED = range(6)
"""What became of a pixel. Where there is no truth, it is only known whether the heads differ."""
NAMES = {
    CORRECTED: f"corrected by {FINE}",
    SPOILT: f"spoilt by {FINE}",
    BOTH_WRONG: "both wrong",
    DIFFERENT: "different",
}
COLORS = {CORRECTED: "#0072B2", SPOILT: "#D55E00", BOTH_WRONG: "#404040", DIFFERENT: "#CC79A7"}
"""Blue, vermillion and purple of Okabe and Ito's palette, which colour-blind people tell apart, and a dark grey."""
TITLE = f"{COARSE} ≠ {FINE}"
WITH_TRUTH, WITHOUT_TRUTH = (CORRECTED, SPOILT, BOTH_WRONG), (DIFFERENT,)
"""The kinds of difference that there can be."""

_PALETTE = np.uint8([np.multiply(to_rgb(COLORS.get(kind, "black")), 255) for kind in range(6)])


class Changes(NamedTuple):
    """What became of every pixel.

    Attributes:
        codes: (H, W) uint8.
        kinds: of difference, those that this image can show.
    """

    codes: np.ndarray
    kinds: tuple[int, ...]

    @property
    def shares(self) -> list[float]:
        """For each of the kinds, its share 0 … 1 of the pixels that are not ignored."""
        counts = np.bincount(self.codes.ravel(), minlength=6)
        return [counts[kind] / max(1, self.codes.size - counts[IGNORED]) for kind in self.kinds]

    def painted(self, image: np.ndarray) -> np.ndarray:
        """In colour on the image (h, w, 3) uint8 of any size, which is made grey and pale; (h, w, 3) uint8."""
        codes = resized(self.codes, image.shape[:2])
        pale = 255 - (255 - np.asarray(Image.fromarray(image).convert("L"))[..., None]) * 0.3
        return np.where(np.isin(codes, list(NAMES))[..., None], _PALETTE[codes], pale.astype(np.uint8))


def find_changes(labels: Mapping[str, np.ndarray], truth: np.ndarray | None, ignore_label: int) -> Changes | None:
    """Compares the labels of the two heads; None where a network has one only.

    Args:
        labels: {head: (H, W)}, what the network says.
        truth: (H, W) labels, or None.
        ignore_label: of the pixels of the truth that count nowhere.
    """
    if not labels.keys() >= {COARSE, FINE}:
        return None
    coarse, fine = labels[COARSE], labels[FINE]
    if truth is None:
        return Changes(np.where(coarse != fine, DIFFERENT, SAME).astype(np.uint8), WITHOUT_TRUTH)
    which = np.select([fine == truth, coarse == truth], [CORRECTED, SPOILT], BOTH_WRONG)
    codes = np.select([truth == ignore_label, coarse != fine], [IGNORED, which], SAME)
    return Changes(codes.astype(np.uint8), WITH_TRUTH)
