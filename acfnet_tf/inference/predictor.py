"""From an image to labels: the one forward path that evaluation, prediction and the figures share (Section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from acfnet_tf.config import EvaluationConfig, Precision
from acfnet_tf.errors import UserError, needs_extra
from acfnet_tf.heads import FINE, heads_in, to_labels
from acfnet_tf.inference.averaging import average, is_plain
from acfnet_tf.inference.folding import fold_batch_norm
from acfnet_tf.layers.dilation import never_differentiated
from acfnet_tf.layers.precision import running
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.create import in_precision
from acfnet_tf.models.loading import load_model

Runtime = Literal["tensorflow", "openvino", "openvino_bfloat16"]
Maps = dict[str, tf.Tensor]

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32)


class Predictor:
    """Labels images of any size with an ACFNet or one of its baselines.

    Args:
        model: a model, a run folder that holds `model.keras`, or a `.keras` file. A model's weights are read at every
            call, so that one predictor can follow a training; for 16 bits they are copied. What is loaded from a file
            has its BatchNorm folded into its convolutions.
        evaluation: whole image or sliding window; one scale or several; with or without left-right flip; precision.
            Sliding windows, scales and flips average softmax probabilities with equal weight.
        head: the head whose labels `predictor(image)` gives.
        runtime: what runs the network: "tensorflow"; or OpenVINO, faster on CPUs, with the weights as they are at the
            first call: "openvino" in float32, "openvino_bfloat16" with rounded products on CPUs that have them.

    Attributes:
        heads: those of this model, in the order of the forward pass: ("coarse", "fine"), or ("fine",) for a baseline
            without class features.
        num_classes: number of classes N.

    Raises:
        UserError: there is no such model, it is no ACFNet, it has no such head, or the runtime is not
            installed or has no such precision.

    Example:
        >>> labels = Predictor("runs/acf_aspp")(image)  # (H, W, 3) uint8 → (H, W) uint8
    """

    def __init__(
        self,
        model: keras.Model | str | Path,
        evaluation: EvaluationConfig = EvaluationConfig(),  # noqa: B008 (it is frozen)
        head: str = FINE,
        runtime: Runtime = "tensorflow",
    ) -> None:
        from_file = isinstance(model, (str, Path))
        self.model = _in_precision(load_model(model) if from_file else model, evaluation.precision, runtime)
        if from_file:
            fold_batch_norm(self.model)
        self.evaluation = evaluation
        outputs = _output_specs(self.model)
        self.heads = heads_in(outputs)
        self.num_classes = int(outputs[FINE].shape[-1])
        if head not in self.heads:
            raise UserError(f"the model has no {head!r} head; it has: {', '.join(self.heads)}")
        self.head = head
        self._openvino = None if runtime == "tensorflow" else _open_vino(self.model, runtime)
        self._functions: dict[tuple[str, tuple[str, ...]], Callable] = {}

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Class indices of `head`.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (H, W) uint8, or what `label_dtype` gives for that many classes.

        Raises:
            ValueError: `image` has another shape or type.
        """
        return self.labels(image, (self.head,))[self.head]

    def labels(self, image: np.ndarray, heads: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Class indices of several heads (all by default) from one forward pass, as in `__call__`."""
        return self._run("labels", image, heads)

    def probabilities(self, image: np.ndarray, heads: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Softmax probabilities of several heads (all by default), averaged over windows, scales and flips.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            {head: (H, W, N) float32}.
        """
        return self._run("probabilities", image, heads)

    def label_maps(self, images: tf.Tensor, heads: Sequence[str]) -> Maps:
        """`labels` of a batch in TensorFlow operations, to be part of a graph (runtime "tensorflow").

        Args:
            images: (B, H, W, 3) RGB in 0–255, any dtype.

        Returns:
            {head: (B, H, W), as in `__call__`}.
        """
        # Straight from the logits where possible: exactly what the Keras model itself says.
        maps = self._logits if is_plain(self.evaluation) else self.probability_maps
        return {head: to_labels(scores) for head, scores in maps(tf.cast(images, tf.float32), heads).items()}

    def probability_maps(self, images: tf.Tensor, heads: Sequence[str]) -> Maps:
        """`probabilities` of a batch, as `label_maps`; {head: (B, H, W, N) float32}."""

        def forward(views: tf.Tensor) -> Maps:
            return {head: tf.nn.softmax(logits) for head, logits in self._logits(views, heads).items()}

        classes = dict.fromkeys(heads, self.num_classes)
        return average(forward, tf.cast(images, tf.float32), self.evaluation, classes)

    def _run(self, what: str, image: np.ndarray, heads: Sequence[str] | None) -> dict[str, np.ndarray]:
        """One graph for every image size; what the heads do not need is pruned from it."""
        images, heads = _checked(image)[None], self.heads if heads is None else tuple(heads)
        with running(self.evaluation.precision):
            return {head: output[0].numpy() for head, output in self._maps(what, images, heads).items()}

    def _maps(self, what: str, images: np.ndarray, heads: tuple[str, ...]) -> Maps:
        maps = self.label_maps if what == "labels" else self.probability_maps
        if self._openvino is not None:
            return maps(images, heads)
        if (what, heads) not in self._functions:
            function = tf.function(lambda images: maps(images, heads), input_signature=[_IMAGES])
            self._functions[what, heads] = function
        return self._functions[what, heads](tf.cast(images, tf.float32))

    def _logits(self, images: tf.Tensor, heads: Sequence[str]) -> Maps:
        """One forward pass, (B, H, W, 3) float32 → {head: (B, H, W, N) float32}."""
        if self._openvino is not None:
            return self._openvino(images, tuple(heads))
        with never_differentiated():
            outputs = self.model(images, training=False)
        return {head: tf.cast(outputs[head], tf.float32) for head in heads}


def _in_precision(model: keras.Model, precision: Precision, runtime: Runtime) -> keras.Model:
    """The model itself, or for 16 bits a copy that computes in them."""
    if not precision.startswith("mixed"):
        return model
    if runtime != "tensorflow":
        raise UserError(f"evaluation.precision={precision} is TensorFlow's; --runtime={runtime} says its own")
    if not isinstance(model, ACFNet):
        raise UserError(
            f"evaluation.precision={precision} wants an ACFNet, not a model of class {type(model).__name__}"
        )
    return in_precision(model, precision)


def _open_vino(model: keras.Model, runtime: Runtime) -> Callable[[tf.Tensor, tuple[str, ...]], Maps]:
    with needs_extra("export", "the runtime OpenVINO"):
        from acfnet_tf.inference.openvino import OpenVino
    return OpenVino(model, "bf16" if runtime == "openvino_bfloat16" else "f32")


def _output_specs(model: keras.Model) -> dict[str, tf.TensorSpec]:
    """The model's outputs by name.

    Raises:
        UserError: it does not give a dict of logits with the finest head, for RGB images.
    """
    contract = f'an ACFNet takes RGB images (B, H, W, 3) and gives {{"{FINE}": (B, H, W, N), …}}'
    try:
        outputs = getattr(model, "output", None)  # Functional models know; others are asked.
        outputs = outputs if isinstance(outputs, dict) else _trace(model)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise UserError(f"the model is no ACFNet: {contract}. It failed on such images: {error}") from error
    if not isinstance(outputs, dict) or FINE not in outputs or len(outputs[FINE].shape) != 4:
        given = ", ".join(map(str, outputs)) if isinstance(outputs, dict) else type(outputs).__name__
        raise UserError(f"the model is no ACFNet: {contract}. It gives: {given}")
    if outputs[FINE].shape[-1] is None:
        raise UserError(f"the model is no ACFNet: {contract}. Its number of classes N is not fixed")
    return outputs


def _trace(model: keras.Model) -> dict[str, tf.TensorSpec]:
    function = tf.function(lambda images: model(images, training=False), input_signature=[_IMAGES])
    return function.get_concrete_function().structured_outputs


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"expected an RGB image (H, W, 3) uint8, not {image.shape} {image.dtype}")
    return image
