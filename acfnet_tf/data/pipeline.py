"""The training input pipeline: decode, augment (Section 4.2), batch.

Order is arithmetic: which file a sample is, and how it is augmented, is a pure function of (seed, global sample index).
A pipeline that starts at sample k yields exactly what one that started at 0 yields from there on, so a run resumes
without iterator state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from acfnet_tf.config import PIXEL_MEAN, DataConfig
from acfnet_tf.data.augmentation import augment, pad
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.decoding import Decoder
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError


def training_dataset(
    samples: Sequence[Sample],
    classes: ClassSet,
    config: DataConfig,
    *,
    seed: int,
    batch_size: int,
    first_sample: int,
    last_sample: int,
    change_colors: Callable[..., tf.Tensor],
    cached: Callable[..., Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]],
    rows: range | None = None,
    order: SampleOrder | None = None,
    pixel_mean: Sequence[float] = PIXEL_MEAN,
) -> tf.data.Dataset:
    """Batches of augmented samples first_sample ≤ g < last_sample, in order; a last incomplete batch is dropped.

    What is wrong with a file stops the iterator with a `tf.errors.OpError`; `diagnose` then says it in one clear line.

    Args:
        config: crop size, augmentation, cache; `parallel_calls` changes the speed, never the result.
        seed: of order and augmentation.
        batch_size: of the global batch, of which `first_sample` begins one.
        change_colors, cached: do what `config.photometric` and `config.cache` ask for, see `acfnet_tf.training_data`.
        rows: which samples of every global batch to read, all by default; the others are not touched.
        order: which file each sample is; every file once an epoch by default.
        pixel_mean: of the model; what a crop has beyond its image is of this colour.

    Returns:
        A dataset of {"image": (batch, h, w, 3) float32 RGB in 0–255, "label": (batch, h, w) of `classes.label_type`,
        "index": (batch,) int64 global sample index}.

    Raises:
        DataError: no samples, or samples without masks.
        tf.errors.OpError: with a cache, a sample that cannot be decoded.
    """
    parallel_calls = config.parallel_calls or os.cpu_count()
    decode = Decoder(samples, classes)
    if config.cache:
        decode = cached(decode, samples, config.cache, parallel_calls)
    order = order or SampleOrder(len(samples), seed)
    names = tf.constant([os.fsencode(str(sample.label)) for sample in samples])
    table = tf.constant(classes.table)

    def labels_of(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, tf.cast(values, tf.int32))

    def load(index: tf.Tensor) -> dict[str, tf.Tensor]:
        file, wanted = order(index)
        image, values = decode(file)
        sample_seed = tf.stack([seed, index])
        anchor = None if wanted is None else _some_pixel(labels_of(values), wanted, sample_seed)
        image, values = augment(image, values, sample_seed, config, anchor)
        if config.photometric:
            image = change_colors(image, tf.random.experimental.stateless_fold_in(sample_seed, 1), config.photometric)
        # The table is applied to the crop, not to the whole mask, because that is a third of the pixels or fewer.
        label = labels_of(values)
        known = tf.reduce_all(label != classes.unknown_label)
        with tf.control_dependencies([tf.debugging.Assert(known, ["values that are in no class in", names[file]])]):
            image, label = pad(image, label, config.crop_size, classes.ignore_label, pixel_mean)
        return {"image": image, "label": label, "index": index}

    rows = rows or range(batch_size)
    dataset = tf.data.Dataset.range(first_sample, last_sample)
    if len(rows) < batch_size:
        dataset = dataset.filter(lambda index: (index % batch_size >= rows.start) & (index % batch_size < rows.stop))
    dataset = dataset.map(load, num_parallel_calls=parallel_calls, deterministic=True)
    # Nothing is left to tune, and the tuner's thread has been seen to block the end of an iterator for good.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.batch(len(rows), drop_remainder=True).prefetch(2).with_options(options)


def diagnose(samples: Iterable[Sample], classes: ClassSet) -> tuple[Sample, DataError] | None:
    """Reads samples again, thoroughly, to find the first one that the pipeline cannot use, and why."""
    for sample in samples:
        try:
            load_sample(sample, classes)
            Decoder([sample], classes)(tf.constant(0, tf.int64))
        except DataError as error:
            return sample, error
        except tf.errors.OpError as error:
            message = " ".join(error.message.split())
            return sample, DataError(f"{sample.image} (mask {sample.label}): TensorFlow cannot read it: {message}")
    return None


def _some_pixel(labels: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Row and column, (2,) int64, of a random pixel of the label `wanted`; (−1, −1) where there is none."""
    places = tf.where(labels == tf.cast(wanted, labels.dtype))
    count = tf.shape(places, tf.int64)[0]
    chance = tf.random.stateless_uniform((), tf.random.experimental.stateless_fold_in(seed, 3), dtype=tf.float64)
    drawn = tf.cast(tf.floor(chance * tf.cast(count, tf.float64)), tf.int64)
    return tf.cond(count > 0, lambda: places[drawn], lambda: tf.constant([-1, -1], tf.int64))
