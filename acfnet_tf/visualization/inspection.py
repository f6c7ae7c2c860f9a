"""What a network computes on its way to labels: features, class centers, attention (Sections 3.1 and 4.3)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from acfnet_tf.config import EvaluationConfig, Precision
from acfnet_tf.errors import UserError
from acfnet_tf.heads import COARSE, FINE, heads_in
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers.precision import running
from acfnet_tf.layers.resize import Grid, interpolate, interpolation, power_of_two

_IMAGES = tf.TensorSpec([1, None, None, 3], tf.float32)


class Inspection(NamedTuple):
    """One image's forward pass in one piece, at the size of the feature maps (h, w). All arrays are float32.

    Attributes:
        size: (H, W) of the image.
        features: {head: (h, w, C)}, what the last convolution of each head is given.
        logits: {head: (h, w, N)}, before they are enlarged.
        probabilities: {head: (h, w, N)}, their softmax. Those of the coarse head are the attention over classes (Eq.
            3): how much of each class center a position receives.
        class_features: (h, w, C'), F' of Eq. 2, of which the centers are means; None without class centers.
        centers: (N, C'), Eq. 2; None without class centers.
        attends: whether positions attend to the centers (ACF), or all get the same (the "class center" ablation).
        grid: the pixels on which the positions of all maps stand.
    """

    size: tuple[int, int]
    features: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    class_features: np.ndarray | None
    centers: np.ndarray | None
    attends: bool
    grid: Grid

    def cell(self, pixel: tuple[int, int]) -> tuple[int, int]:
        """The (row, column) of the feature maps that lies nearest to a pixel (x, y)."""
        x, y = pixel
        rows, columns = self.logits[FINE].shape[:2]
        return int(self.grid.nearest_features(y, rows)), int(self.grid.nearest_features(x, columns))

    def similarity(self, head: str, pixel: tuple[int, int]) -> np.ndarray:
        """Cosine similarity of the features before a head at every position to those at a pixel (Figures 5 and 6).

        Returns:
            (h, w) in −1 … 1; 0 where the features are all zero.
        """
        unit = unit_length(self.features[head])
        return unit @ unit[self.cell(pixel)]

    def probabilities_at(self, head: str, pixel: tuple[int, int]) -> np.ndarray:
        """The softmax (N,) of a head's logits, enlarged as the network enlarges them, at one pixel (x, y)."""
        logits = self.logits[head]
        rows, columns = (
            interpolation([place], count, *self.grid)
            for place, count in zip(reversed(pixel), logits.shape[:2], strict=True)
        )
        return tf.nn.softmax(interpolate(logits[None], rows, columns))[0, 0, 0].numpy()


def unit_length(features: np.ndarray) -> np.ndarray:
    """Vectors (…, C) of length 1; those that are all zero stay so."""
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def inspector_of(predictor: Predictor) -> Inspector:
    """The inspector of the predictor's model, in its precision; its graph is made once for all images."""
    return _inspector(predictor.model, predictor.evaluation.precision)


@functools.lru_cache(maxsize=4)
def _inspector(model: keras.Model, precision: Precision) -> Inspector:
    return Inspector(model, precision)


class Inspector:
    """Gives the `Inspection` of images.

    Args:
        model: an `ACFNet`; its weights are read at every call.
        precision: how a GPU multiplies float32.

    Raises:
        UserError: the model is no ACFNet.

    Example:
        >>> found = Inspector(keras.models.load_model("runs/acf_aspp/model.keras"))(image)  # (H, W, 3) uint8
        >>> found.centers.shape, found.similarity("fine", (250, 120)).shape
        ((19, 512), (h, w))
    """

    def __init__(self, model: keras.Model, precision: Precision = EvaluationConfig.precision) -> None:
        self.precision = precision
        layers = {layer.name: layer for layer in model.layers}
        self.heads = heads_in([name.removesuffix("_logits") for name in layers if name.endswith("_logits")])
        if FINE not in self.heads:
            raise UserError("features and class centers can be shown of an ACFNet only, not of another Keras model")
        self.acf = layers.get("acf")
        upsampled = layers.get(f"{FINE}_upsampled")
        self._grid = Grid(upsampled.stride, upsampled.offset) if upsampled and upsampled.stride else None
        outputs = {
            head: {"features": layers[f"{head}_logits"].input, "logits": layers[f"{head}_logits"].output}
            for head in self.heads
        }
        self._model = keras.Model(model.input, outputs)
        self._function = tf.function(self._inspect, input_signature=[_IMAGES])

    def __call__(self, image: np.ndarray) -> Inspection:
        """Of an image (H, W, 3) uint8."""
        with running(self.precision):
            found = self._function(tf.cast(image[None], tf.float32))
        found = tf.nest.map_structure(lambda tensor: tensor[0].numpy(), found)
        (height, width), (rows, columns) = image.shape[:2], found[FINE]["logits"].shape[:2]
        return Inspection(
            (height, width),
            *({head: found[head][what] for head in self.heads} for what in ("features", "logits", "probabilities")),
            found.get("class_features"),
            found.get("centers"),
            attends=self.acf is not None and self.acf.combine is not None,
            # As `ResizeLike` finds it where a model does not say.
            grid=self._grid or Grid(float(tf.maximum(power_of_two(rows, height), power_of_two(columns, width)))),
        )

    def _inspect(self, images: tf.Tensor) -> dict[str, Any]:
        found = self._model(images, training=False)
        result = tf.nest.map_structure(lambda values: tf.cast(values, tf.float32), found)
        for maps in result.values():
            maps["probabilities"] = tf.nn.softmax(maps["logits"])
        if self.acf is not None:
            block, coarse = self.acf.class_centers, result[COARSE]
            centers = block(found[COARSE]["features"], coarse["probabilities"])
            result["centers"] = tf.cast(centers, tf.float32)
            result["class_features"] = tf.tensordot(coarse["features"], block.kernel, 1) + block.bias
        return result
