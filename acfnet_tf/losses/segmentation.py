"""Class-balanced cross entropy and the weighted sum over the heads (Section 3.2, Eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from acfnet_tf.config import LossConfig
from acfnet_tf.losses.ohem import Kept, count_over_replicas, hardest_pixels, pixel_hardness


class SegmentationLoss:
    """L = aux_weight · la + coarse_weight · lc + fine_weight · lf, each a mean over the pixels of the *global* batch.

    The loss of one head is the mean of weight[label] · (−log probability[label]) over all valid pixels, or with online
    bootstrapping over the kept ones. Every replica returns its own share, so that the sum over replicas is the loss
    that one device would compute on the global batch. Everything is float32.

    Args:
        config: weights and bootstrapping.
        class_weights: (N,) or None for equal weights.
        ignore_label: label of the pixels that do not count.
    """

    def __init__(
        self, config: LossConfig, class_weights: Sequence[float] | None = None, ignore_label: int = 255
    ) -> None:
        self.config = config
        self.class_weights = class_weights
        self.ignore_label = ignore_label
        self.head_weights = {"aux": config.aux_weight, "coarse": config.coarse_weight, "fine": config.fine_weight}

    def __call__(
        self, logits: dict[str, tf.Tensor], labels: tf.Tensor, kept: dict[str, Kept] | None = None
    ) -> dict[str, tf.Tensor]:
        """This replica's part of the losses.

        Args:
            logits: of each head, (B, H, W, N).
            labels: (B, H, W) integer class indices, or `ignore_label`.
            kept: what `kept` gives for the global batch, where these logits are those of a part of it; by default they
                are those of all of it.

        Returns:
            Scalars "total" and, unweighted, one for each head; their sums over replicas (and micro-batches) are the
            losses.
        """
        labels = tf.cast(labels, tf.int32)
        valid = labels != self.ignore_label
        targets = tf.where(valid, labels, 0)
        cross_entropy = self._cross_entropy(logits, targets)
        hardness = self._hardness(cross_entropy, valid)
        kept = kept or self.kept(labels, hardness)
        weights = 1.0
        if self.class_weights is not None:
            weights = tf.gather(tf.constant(self.class_weights, tf.float32), targets)

        def mean(head: str) -> tf.Tensor:
            counts = hardness[head] >= kept[head].hardness if head in hardness else valid
            pixel_losses = tf.cast(counts, tf.float32) * weights * cross_entropy[head]
            return tf.math.divide_no_nan(tf.reduce_sum(pixel_losses), kept[head].pixels)

        losses = {head: mean(head) for head in cross_entropy}
        total = tf.add_n([self.head_weights[head] * loss for head, loss in losses.items()])
        return {"total": total} | losses

    def hardness(self, logits: dict[str, tf.Tensor], labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Of the heads that are bootstrapped, how hard each pixel is: (B, H, W), see `pixel_hardness`."""
        labels = tf.cast(labels, tf.int32)
        valid = labels != self.ignore_label
        return self._hardness(self._cross_entropy(logits, tf.where(valid, labels, 0)), valid)

    def kept(self, labels: tf.Tensor, hardness: dict[str, tf.Tensor]) -> dict[str, Kept]:
        """Which pixels of the global batch count, for every head: the valid ones, or of them the hardest.

        Args:
            labels: (B, H, W) of this replica's part of the global batch.
            hardness: of the same pixels, for the heads that are bootstrapped.
        """
        valid = tf.cast(count_over_replicas(labels != self.ignore_label), tf.float32)
        kept = dict.fromkeys(self.head_weights, Kept(tf.constant(0.0), valid))
        for head, values in hardness.items():
            kept[head] = hardest_pixels(values, self.config.ohem_threshold, self.config.ohem_min_kept)
        return kept

    def _cross_entropy(self, logits: dict[str, tf.Tensor], targets: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            head: tf.nn.sparse_softmax_cross_entropy_with_logits(targets, tf.cast(logits[head], tf.float32))
            for head in sorted(logits)
        }

    def _hardness(self, cross_entropy: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
        heads = self.config.ohem_heads if self.config.ohem else ()
        return {
            head: pixel_hardness(tf.stop_gradient(values), valid)
            for head, values in cross_entropy.items()
            if head in heads
        }
