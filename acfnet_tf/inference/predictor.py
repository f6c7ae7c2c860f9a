"""From an image to labels: the one forward path that evaluation, prediction and the figures share (Section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from acfnet_tf.config import EvaluationConfig, UserError
from acfnet_tf.inference.loading import load_model
from acfnet_tf.inference.windows import window_starts

HEADS = ("fine", "coarse")
"""The heads that are kept; the auxiliary head serves training only."""

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32)


class Predictor:
    """Labels images of any size with an ACFNet or one of its baselines.

    Args:
        model: a model, a run folder that holds `model.keras`, or a `.keras` file. A model's weights are read at every
            call, so that one predictor can follow a training.
        evaluation: whole image or sliding window; one scale or several; with or without left-right flip. Sliding
            windows, scales and flips average softmax probabilities with equal weight.
        head: the head that `predictor(image)` shows, "fine" or "coarse".

    Attributes:
        heads: the heads of this model: ("fine", "coarse"), or ("fine",) for a baseline without class features.
        num_classes: number of classes N.

    Raises:
        UserError: there is no such model, it is no ACFNet, it has no such head, or `evaluation` makes no sense.

    Example:
        >>> labels = Predictor("runs/acf_aspp")(image)  # (H, W, 3) uint8 → (H, W) uint8
    """

    def __init__(
        self,
        model: keras.Model | str | Path,
        evaluation: EvaluationConfig = EvaluationConfig(),  # noqa: B008 (it is frozen)
        head: str = "fine",
    ) -> None:
        _check(evaluation)
        self.model = load_model(model) if isinstance(model, (str, Path)) else model
        self.evaluation = evaluation
        outputs = _output_specs(self.model)
        self.heads = tuple(name for name in HEADS if name in outputs)
        self.num_classes = int(outputs["fine"].shape[-1])
        if head not in self.heads:
            raise UserError(f"the model has no {head!r} head; it has: {', '.join(self.heads)}")
        self.head = head
        self._label_type = np.uint8 if self.num_classes <= 256 else np.uint16
        self._functions: dict[tuple[str, tuple[str, ...]], Callable] = {}

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Class indices of `head`.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (H, W) uint8; uint16 for more than 256 classes.

        Raises:
            ValueError: `image` has another shape or type.
        """
        return self.labels(image, (self.head,))[self.head]

    def labels(self, image: np.ndarray, heads: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Class indices of several heads (all by default) from one forward pass, as in `__call__`."""
        image, heads = _checked(image), self.heads if heads is None else tuple(heads)
        if self._is_plain():  # straight from the logits: exactly what the Keras model itself says
            found = self._run("labels", heads, tf.cast(image[None], tf.float32))
            return {head: labels[0].numpy() for head, labels in found.items()}
        found = self._average(image, heads)
        return {head: values.argmax(axis=-1).astype(self._label_type) for head, values in found.items()}

    def probabilities(self, image: np.ndarray, heads: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Softmax probabilities of several heads (all by default), averaged over windows, scales and flips.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            {head: (H, W, N) float32}.
        """
        return self._average(_checked(image), self.heads if heads is None else tuple(heads))

    def _is_plain(self) -> bool:
        evaluation = self.evaluation
        return evaluation.mode == "whole" and not evaluation.multi_scale and not evaluation.flip

    def _average(self, image: np.ndarray, heads: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Mean over scales and flips, added up in place: at no time is more than one view in memory beside the sum."""
        height, width = image.shape[:2]
        scales = self.evaluation.scales if self.evaluation.multi_scale else (1.0,)
        flips = (False, True) if self.evaluation.flip else (False,)
        total = {head: np.zeros((height, width, self.num_classes), np.float32) for head in heads}
        for scale in scales:
            size = max(1, round(scale * height)), max(1, round(scale * width))
            scaled = _resized(tf.cast(image[None], tf.float32), size)
            for flip in flips:
                view = self._windows(tf.reverse(scaled, [2]) if flip else scaled, heads)
                for head in heads:
                    values = np.asarray(_resized(view.pop(head), (height, width))[0])
                    total[head] += values[:, ::-1] if flip else values
        for values in total.values():
            values /= len(scales) * len(flips)
        return total

    def _windows(self, images: tf.Tensor, heads: tuple[str, ...]) -> dict[str, tf.Tensor]:
        """Probabilities of one view, (1, H, W, 3) → {head: (1, H, W, N)}: in one piece, or the mean over windows."""
        height, width = images.shape[1:3]
        window_height, window_width = self.evaluation.window
        fits = height <= window_height and width <= window_width
        if self.evaluation.mode == "whole" or fits:
            return self._run("probabilities", heads, images)
        overlap = self.evaluation.window_overlap
        total = {head: np.zeros((1, height, width, self.num_classes), np.float32) for head in heads}
        count = np.zeros((height, width, 1), np.float32)
        for top in window_starts(height, window_height, overlap):
            for left in window_starts(width, window_width, overlap):
                rows, columns = slice(top, top + window_height), slice(left, left + window_width)
                values = self._run("probabilities", heads, images[:, rows, columns])
                for head in heads:
                    total[head][:, rows, columns] += np.asarray(values[head])
                count[rows, columns] += 1
        for values in total.values():
            values /= count
        return {head: tf.convert_to_tensor(values) for head, values in total.items()}

    def _run(self, what: str, heads: tuple[str, ...], images: tf.Tensor) -> dict[str, tf.Tensor]:
        """One forward pass. One graph for every image size; what the heads do not need is pruned from it."""
        if (what, heads) not in self._functions:
            finish = self._to_labels if what == "labels" else tf.nn.softmax

            @tf.function(input_signature=[_IMAGES])
            def function(images: tf.Tensor) -> dict[str, tf.Tensor]:
                outputs = self.model(images, training=False)
                return {head: finish(tf.cast(outputs[head], tf.float32)) for head in heads}

            self._functions[what, heads] = function
        return self._functions[what, heads](images)

    def _to_labels(self, logits: tf.Tensor) -> tf.Tensor:
        """(B, H, W, N) logits → (B, H, W) class indices, inside the graph: a byte a pixel leaves the device."""
        return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), self._label_type)


def _output_specs(model: keras.Model) -> dict[str, tf.TensorSpec]:
    """The model's outputs by name.

    Raises:
        UserError: it does not give a dict of logits with a "fine" head, for RGB images.
    """
    contract = 'an ACFNet takes RGB images (B, H, W, 3) and gives {"fine": (B, H, W, N), …}'
    try:
        outputs = getattr(model, "output", None)  # functional models know; others are asked
        outputs = outputs if isinstance(outputs, dict) else _trace(model)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise UserError(f"the model is no ACFNet: {contract}. It failed on such images: {error}") from error
    if not isinstance(outputs, dict) or "fine" not in outputs or len(outputs["fine"].shape) != 4:
        found = ", ".join(map(str, outputs)) if isinstance(outputs, dict) else type(outputs).__name__
        raise UserError(f"the model is no ACFNet: {contract}. It gives: {found}")
    if outputs["fine"].shape[-1] is None:
        raise UserError(f"the model is no ACFNet: {contract}. Its number of classes N is not fixed")
    return outputs


def _trace(model: keras.Model) -> dict[str, tf.TensorSpec]:
    function = tf.function(lambda images: model(images, training=False), input_signature=[_IMAGES])
    return function.get_concrete_function().structured_outputs


def _resized(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """(B, H, W, C) to another size: bilinear, half-pixel centers; the same tensor where the size is right already."""
    return images if tuple(images.shape[1:3]) == size else tf.image.resize(images, size, method="bilinear")


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"expected an RGB image (H, W, 3) uint8, not {image.shape} {image.dtype}")
    return image


def _check(evaluation: EvaluationConfig) -> None:
    if min(evaluation.window) < 1:
        raise UserError(f"evaluation.window = {evaluation.window}: expected two positive numbers of pixels")
    if not 0 <= evaluation.window_overlap < 1:
        raise UserError(f"evaluation.window_overlap = {evaluation.window_overlap}: expected a share in [0, 1)")
    if not evaluation.scales or min(evaluation.scales) <= 0:
        raise UserError(f"evaluation.scales = {evaluation.scales}: expected positive numbers")
