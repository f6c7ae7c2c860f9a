"""The losses of all heads of a network and their weighted sum (Eq. 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from acfnet_tf.config import LossConfig
from acfnet_tf.losses.bootstrapping import Kept, count_over_replicas
from acfnet_tf.losses.segmentation import SegmentationLoss


class HeadLosses:
    """L = Σ weight · loss over the heads. Every replica returns its part; see `SegmentationLoss`.

    Args:
        losses: of each head, all with the same `ignore_label`.
        weights: of each head.
    """

    def __init__(self, losses: Mapping[str, SegmentationLoss], weights: Mapping[str, float]) -> None:
        self.losses, self.weights = dict(losses), dict(weights)
        self.ignore_label = next(iter(self.losses.values())).ignore_label
        self.bootstrapped = tuple(head for head, loss in self.losses.items() if loss.threshold is not None)

    def __call__(
        self, logits: Mapping[str, tf.Tensor], labels: tf.Tensor, kept: Mapping[str, Kept] | None = None
    ) -> dict[str, tf.Tensor]:
        """This replica's part of the losses.

        Args:
            logits: of each head, (B, H, W, N).
            labels: (B, H, W) integer class indices, or `ignore_label`.
            kept: what `kept` gives for the global batch, if these logits are those of a micro-batch. Without it, they
                are those of all pixels of this replica.

        Returns:
            Scalars "total" and, unweighted, one for each head. Their sums over replicas and micro-batches are the
            losses.
        """
        kept = self._kept_if_valid(labels) if kept is None else kept
        losses = {head: self.losses[head].part(labels, logits[head], kept.get(head)) for head in sorted(logits)}
        return {"total": tf.add_n([self.weights[head] * loss for head, loss in losses.items()])} | losses

    def hardness(self, logits: Mapping[str, tf.Tensor], labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """How hard each pixel is for each head that is bootstrapped, (B, H, W); see `pixel_hardness`."""
        heads = [head for head in self.bootstrapped if head in logits]
        return {head: self.losses[head].hardness(labels, logits[head]) for head in heads}

    def kept(self, labels: tf.Tensor, hardness: Mapping[str, tf.Tensor]) -> dict[str, Kept]:
        """Which pixels of the global batch count, for every head: the valid ones, or of them the hardest.

        Args:
            labels: (B, H, W), all of this replica's.
            hardness: of the same pixels, for the heads that are bootstrapped.
        """
        return self._kept_if_valid(labels) | {head: self.losses[head].kept(values) for head, values in hardness.items()}

    def _kept_if_valid(self, labels: tf.Tensor) -> dict[str, Kept]:
        """For the heads without bootstrapping, which need but one sum over the replicas together."""
        valid = tf.cast(labels, tf.int64) != self.ignore_label
        kept = Kept(tf.constant(0.0), tf.cast(count_over_replicas(valid), tf.float32))
        return {head: kept for head in self.losses if head not in self.bootstrapped}


def head_losses(
    config: LossConfig, heads: Iterable[str], class_weights: Sequence[float] | None = None, ignore_label: int = 255
) -> HeadLosses:
    """The losses that the settings ask for.

    Args:
        config: weights of the heads, and bootstrapping. Its `class_weights` name what must be counted in the data, and
            are not looked at.
        heads: of the model, such as `model.output`.
        class_weights: (N,), or None for equal weights.
        ignore_label: label of the pixels that do not count.
    """

    def loss(head: str) -> SegmentationLoss:
        threshold = config.ohem_threshold if config.ohem and head in config.ohem_heads else None
        return SegmentationLoss(class_weights, threshold, config.ohem_min_kept, ignore_label, name=head)

    heads = tuple(heads)
    return HeadLosses({head: loss(head) for head in heads}, {head: config.head_weights[head] for head in heads})
