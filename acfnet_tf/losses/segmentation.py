"""Class-balanced cross entropy of one head (Section 3.2), with online bootstrapping (Section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.losses.bootstrapping import Kept, count_over_replicas, hardest_pixels, pixel_hardness


@keras.saving.register_keras_serializable("acfnet_tf")
class SegmentationLoss(keras.losses.Loss):
    """The mean of weight[label] · (−log probability[label]) over the valid pixels of the *global* batch.

    With online bootstrapping it is the mean over the hardest of them. Under a `tf.distribute` strategy every replica
    returns its part, and the sum over the replicas is the loss that one device would compute on the global batch; as
    the part is a scalar, Keras divides it by nothing. Everything is float32.

    Args:
        class_weights: (N,), or None for equal weights.
        threshold: θ of bootstrapping: pixels whose true class has a smaller probability are kept. None: all pixels are.
        min_kept: K of bootstrapping: so many of the hardest pixels of the global batch are always kept.
        ignore_label: label of the pixels that do not count.

    Call arguments:
        y_true: (B, H, W) or (B, H, W, 1), class indices or `ignore_label`, of any dtype.
        y_pred: (B, H, W, N), logits.
        sample_weight: factors of images, (B,), or of pixels, (B, H, W). The mean is over as many pixels as without.

    Returns:
        () float32.

    Raises:
        ValueError: there is not one weight for each class.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        threshold: float | None = None,
        min_kept: int = 100_000,
        ignore_label: int = 255,
        name: str = "segmentation_loss",
    ) -> None:
        super().__init__(name=name, reduction="sum")
        self.class_weights = None if class_weights is None else tuple(map(float, class_weights))
        self.threshold, self.min_kept, self.ignore_label = threshold, min_kept, ignore_label

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        # Keras's own would make labels float32 and multiply the finished mean by the weights.
        return self.part(y_true, y_pred, sample_weight=sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        return self.part(y_true, y_pred)

    def part(self, labels: Any, logits: Any, kept: Kept | None = None, sample_weight: Any = None) -> tf.Tensor:
        """This replica's part of the loss, as when the loss is called.

        Args:
            kept: what `kept` gives for the global batch, if these pixels are but some of this replica's.
        """
        cross_entropy, hardness = self._pixels(labels, logits)
        kept = self.kept(hardness) if kept is None else kept
        weights = tf.cast(hardness >= kept.hardness, tf.float32)
        if self.class_weights is not None:
            if len(self.class_weights) != logits.shape[-1]:
                raise ValueError(f"{len(self.class_weights)} class weights for {logits.shape[-1]} classes")
            weights *= tf.gather(tf.constant(self.class_weights, tf.float32), self._targets(labels, logits))
        if sample_weight is not None:
            sample_weight = tf.cast(sample_weight, tf.float32)
            weights *= sample_weight[:, None, None] if sample_weight.shape.rank == 1 else sample_weight
        return tf.math.divide_no_nan(tf.reduce_sum(weights * cross_entropy), kept.pixels)

    def hardness(self, labels: Any, logits: Any) -> tf.Tensor:
        """How hard each pixel is, (B, H, W) float32; see `pixel_hardness`."""
        return self._pixels(labels, logits)[1]

    def kept(self, hardness: tf.Tensor) -> Kept:
        """Which pixels of the global batch count.

        Args:
            hardness: (B, H, W) of all pixels of this replica.
        """
        if self.threshold is not None:
            return hardest_pixels(hardness, self.threshold, self.min_kept)
        return Kept(tf.constant(0.0), tf.cast(count_over_replicas(hardness >= 0), tf.float32))

    def _targets(self, labels: Any, logits: Any) -> tf.Tensor:
        """(B, H, W) int64, with class 0 where the label is ignored. (TensorFlow keeps int32 in the host's memory.)"""
        labels = tf.cast(labels, tf.int64)
        labels = tf.squeeze(labels, -1) if labels.shape.rank == len(logits.shape) else labels
        return tf.where(labels == self.ignore_label, tf.constant(0, tf.int64), labels)

    def _pixels(self, labels: Any, logits: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Cross entropy and hardness, (B, H, W) float32 each."""
        logits = tf.cast(logits, tf.float32)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(self._targets(labels, logits), logits)
        valid = tf.reshape(tf.cast(labels, tf.int64) != self.ignore_label, tf.shape(cross_entropy))
        return cross_entropy, pixel_hardness(tf.stop_gradient(cross_entropy), valid)

    def get_config(self) -> dict[str, Any]:
        names = ("name", "class_weights", "threshold", "min_kept", "ignore_label")
        return {name: getattr(self, name) for name in names}
