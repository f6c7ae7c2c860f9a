"""What is to blame for a training step that is not finite: the weights, or which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from acfnet_tf.data.sample import Sample
from acfnet_tf.layers.norm import deferred_statistics
from acfnet_tf.losses import HeadLosses
from acfnet_tf.models.loading import not_finite
from acfnet_tf.training.nonfinite import ADVICE
from acfnet_tf.training.workers import Workers

LISTED_FILES = 8


def blame(
    model: keras.Model, loss: HeadLosses, workers: Workers, batch: Mapping[str, tf.Tensor], files: Sequence[Sample]
) -> tuple[str, str, bool]:
    """Tries the samples of a batch one by one, and an image of noise. All workers must call it.

    Args:
        batch: this worker's part, with the global "index" of every sample.
        files: of the global batch, in its order.

    Returns:
        What is to blame, what helps, and whether no later step can be better.
    """

    def is_bad(image: tf.Tensor, label: tf.Tensor) -> bool:
        with deferred_statistics():  # They are dropped, as this is no training.
            losses = loss(model(image[None], training=True), label[None])
        return not np.isfinite([float(value) for value in losses.values()]).all()

    if broken := not_finite({variable.path: variable for variable in model.weights}):
        return broken, ADVICE, True
    bad = np.zeros(len(files), np.int64)
    places = batch["index"].numpy() % len(files)
    for image, label, place in zip(batch["image"], batch["label"], places, strict=True):
        bad[place] = is_bad(image, label)
    bad = workers.sum(bad) > 0
    names = [str(sample.image) for sample, guilty in zip(files, bad, strict=True) if guilty or not bad.any()]
    named = ", ".join(names[:LISTED_FILES]) + (" …" if len(names) > LISTED_FILES else "")
    noise = tf.random.stateless_uniform(batch["image"].shape[1:], (0, 0), 0, 255)
    on_noise = bool(bad.any()) and is_bad(noise, tf.zeros_like(batch["label"][0]))
    if on_noise or (bad.all() and len(bad) > 1):
        where = "the weights have grown so large that no image, or hardly any, gives finite numbers"
        return where, ADVICE, on_noise and bool(bad.all())
    if bad.any():
        where = f"{bad.sum()} of its {len(files)} images are not finite by themselves: {named}"
        return where, f"Mend or remove the images. {ADVICE}", False
    return f"no image is to blame by itself; its images are: {named}", ADVICE, False
