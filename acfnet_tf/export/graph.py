"""What the converters are given: the network as one function of uint8 images, with its weights as constants."""

from __future__ import annotations

import contextlib
import textwrap
import warnings
from collections.abc import Iterator

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from acfnet_tf.console import quiet
from acfnet_tf.errors import UserError, needs_extra
from acfnet_tf.heads import FINE, to_labels
from acfnet_tf.inference.averaging import is_plain
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers.dilation import never_differentiated
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.create import in_precision

IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
ENDPOINT = {
    "input": "images: (batch, height, width, 3) uint8, RGB; any batch, height and width",
    "outputs": "labels: (batch, height, width) class indices; logits: (batch, height, width, classes) float32",
}
"""The description that files carry, where their format has a place for it."""


def plain_forward(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """One forward pass of a Keras model over whole images.

    Returns:
        A function of (B, H, W, 3) uint8 → {"labels": (B, H, W) as of `to_labels`; "logits": (B, H, W, N) float32}, of
        the fine head.
    """

    @tf.function(input_signature=[IMAGES])
    def forward(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with never_differentiated():
            logits = tf.cast(model(tf.cast(images, tf.float32), training=False)[FINE], tf.float32)
        return {"labels": to_labels(logits), "logits": logits}

    return forward.get_concrete_function()


def frozen_forward(predictor: Predictor) -> tf.types.experimental.PolymorphicFunction:
    """`plain_forward` in float32 with all weights as constants: converters lose variables and captured tensors.

    Raises:
        UserError: `predictor` slides windows, scales or flips, which is more than one forward pass.
    """
    if not is_plain(predictor.evaluation):
        raise UserError(
            "this format holds one forward pass over the whole image, not sliding windows, scales or flips: add"
            " --set evaluation.mode=whole evaluation.multi_scale=false evaluation.flip=false, or use the format"
            " saved_model"
        )
    frozen = convert_variables_to_constants_v2(plain_forward(float32(predictor.model)))

    @tf.function(input_signature=[IMAGES])
    def forward(images: tf.Tensor) -> dict[str, tf.Tensor]:
        labels, logits = frozen(images)  # a frozen function has a list for a dict, in the order of the keys
        return {"labels": labels, "logits": logits}

    return forward


def float32(model: keras.Model) -> keras.Model:
    """The model itself, or of one with a mixed policy its twin in float32: runtimes have no bfloat16 convolutions."""
    return in_precision(model, "float32") if isinstance(model, ACFNet) else model


@contextlib.contextmanager
def conversion(what: str) -> Iterator[None]:
    """For calls of converters and runtimes: keeps their chatter from the terminal, and makes errors one line.

    Raises:
        UserError: what is inside failed, or needs a package that is not installed.
    """
    try:
        with needs_extra("export", what), quiet(1, 2), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:  # each converter has kinds of its own
        raise UserError(f"{what} failed: {textwrap.shorten(str(error), 600) or type(error).__name__}") from error
