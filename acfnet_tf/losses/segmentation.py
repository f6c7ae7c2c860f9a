"""Class-balanced cross entropy and the weighted sum over the heads (Section 3.2, Eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from acfnet_tf.config import LossConfig
from acfnet_tf.losses.ohem import hard_pixels
from acfnet_tf.replicas import replica_sum


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
        self, logits: dict[str, tf.Tensor], labels: tf.Tensor, share: tf.Tensor | float = 1.0
    ) -> dict[str, tf.Tensor]:
        """This replica's part of the losses.

        Args:
            logits: of each head, (B, H, W, N).
            labels: (B, H, W) integer class indices, or `ignore_label`.
            share: the valid pixels of this micro-batch (on all replicas) as a fraction of those of the global batch.
            Of the
                pixels that bootstrapping always keeps, a micro-batch keeps the same fraction.

        Returns:
            Scalars "total" and, unweighted, one for each head; their sums over replicas (and micro-batches) are the
            losses.
        """
        labels = tf.cast(labels, tf.int32)
        valid = labels != self.ignore_label
        targets = tf.where(valid, labels, 0)
        share = tf.cast(share, tf.float32)
        losses = {head: self._head_loss(head, logits[head], targets, valid, share) for head in sorted(logits)}
        total = tf.add_n([self.head_weights[head] * loss for head, loss in losses.items()])
        return {"total": total} | losses

    def _head_loss(
        self, head: str, logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor, share: tf.Tensor
    ) -> tf.Tensor:
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))
        kept = valid
        if self.config.ohem and head in self.config.ohem_heads:
            min_kept = tf.cast(tf.math.ceil(self.config.ohem_min_kept * share), tf.int64)
            kept = hard_pixels(tf.stop_gradient(cross_entropy), valid, self.config.ohem_threshold, min_kept)
        pixel_weights = tf.cast(kept, tf.float32)
        if self.class_weights is not None:
            pixel_weights *= tf.gather(tf.constant(self.class_weights, tf.float32), targets)
        kept_pixels = tf.cast(replica_sum(tf.math.count_nonzero(kept)), tf.float32)
        return share * tf.math.divide_no_nan(tf.reduce_sum(pixel_weights * cross_entropy), kept_pixels)
