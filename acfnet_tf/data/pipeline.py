"""The training input pipeline: decode, augment (Section 4.2), batch.

Order is arithmetic: which file a sample is, and how it is augmented, is a pure function of (seed, global sample index).
A pipeline that starts at sample k yields exactly what one that started at 0 yields from there on, so a run resumes
without iterator state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import tensorflow as tf

from acfnet_tf.config import DataConfig
from acfnet_tf.data.augmentation import augment
from acfnet_tf.data.cityscapes import Sample
from acfnet_tf.data.cityscapes_labels import TRAIN_IDS, UNKNOWN_LABEL
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.reading import GREY_8_BIT, PNG_START, load_sample

UNLABELED_ID = 0
"""labelId "unlabeled", whose trainId is the ignored one."""


def training_dataset(
    samples: Sequence[Sample],
    config: DataConfig,
    *,
    seed: int,
    batch_size: int,
    first_sample: int,
    last_sample: int,
    rows: range | None = None,
) -> tf.data.Dataset:
    """Batches of augmented samples first_sample ≤ g < last_sample, in order; a last incomplete batch is dropped.

    What is wrong with a file stops the iterator with a `tf.errors.OpError`; `diagnose` then says it in one clear line.

    Args:
        samples: the training set.
        config: crop size, scale range, flip; `parallel_calls` changes the speed, never the result.
        seed: of order and augmentation.
        batch_size: of the global batch, of which `first_sample` begins one.
        rows: which samples of every global batch to read, all by default; the others are not touched.

    Returns:
        A dataset of {"image": (batch, h, w, 3) float32 RGB in 0–255, "label": (batch, h, w) uint8 trainIds with 255 =
        ignored, "index": (batch,) int64 global sample index}.

    Raises:
        DataError: no samples, or samples without masks.
    """
    if not samples:
        raise DataError("there are no training samples.")
    for sample in samples:
        if sample.label is None:
            raise DataError(f"{sample.image}: has no mask, so it cannot be trained on.")
    images = tf.constant([sample.image for sample in samples])
    labels = tf.constant([sample.label for sample in samples])

    def load(index: tf.Tensor) -> dict[str, tf.Tensor]:
        file = sample_file_index(seed, index, len(samples))
        image, label_ids = _decode(images[file], labels[file])
        image, label_ids = augment(image, label_ids, tf.stack([seed, index]), config, pad_label=UNLABELED_ID)
        # The table is applied to the crop, not to the whole mask, because that is a third of the pixels or fewer.
        label = tf.gather(TRAIN_IDS, tf.cast(label_ids, tf.int32))
        known = tf.reduce_all(label != UNKNOWN_LABEL)
        with tf.control_dependencies([tf.debugging.Assert(known, ["values that are no labelIds in", labels[file]])]):
            return {"image": image, "label": tf.identity(label), "index": index}

    rows = rows or range(batch_size)
    dataset = tf.data.Dataset.range(first_sample, last_sample)
    if len(rows) < batch_size:
        dataset = dataset.filter(lambda index: (index % batch_size >= rows.start) & (index % batch_size < rows.stop))
    parallel_calls = config.parallel_calls or os.cpu_count()
    dataset = dataset.map(load, num_parallel_calls=parallel_calls, deterministic=True)
    # Nothing is left to tune, and the tuner's thread has been seen to block the end of an iterator for good.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.batch(len(rows), drop_remainder=True).prefetch(2).with_options(options)


def sample_file_index(seed: int, index: int | tf.Tensor, num_files: int) -> tf.Tensor:
    """Which file, () int64, global sample `index` is: every file once an epoch, in an order of its own each epoch."""
    index = tf.convert_to_tensor(index, tf.int64)
    epoch, position = index // num_files, index % num_files
    return tf.random.experimental.index_shuffle(position, tf.stack([seed, epoch]), num_files - 1)


def diagnose(samples: Iterable[Sample]) -> None:
    """Reads samples again, thoroughly, to find what stopped the pipeline.

    Raises:
        DataError: for the first bad file; names it and says what is wrong with it.
    """
    for sample in samples:
        load_sample(sample)
        try:
            _decode(sample.image, sample.label)
        except tf.errors.OpError as error:
            message = " ".join(error.message.split())
            raise DataError(f"{sample.image} (mask {sample.label}): TensorFlow cannot read it: {message}") from error


def _decode(image_path: tf.Tensor | str, label_path: tf.Tensor | str) -> tuple[tf.Tensor, tf.Tensor]:
    """Image (H, W, 3) uint8 and mask (H, W) uint8 of labelIds."""
    image = tf.io.decode_image(tf.io.read_file(image_path), channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    content = tf.io.read_file(label_path)
    # decode_png would turn a colour, palette or 16-bit picture silently into some 8-bit grey.
    header = tf.strings.substr(content, 0, 16) + tf.strings.substr(content, 24, 2)
    grey = tf.debugging.Assert(header == PNG_START + GREY_8_BIT, ["no PNG with one 8-bit channel:", label_path])
    with tf.control_dependencies([grey]):
        label_ids = tf.io.decode_png(content, channels=1)[..., 0]
    same_size = tf.reduce_all(tf.shape(image)[:2] == tf.shape(label_ids))
    with tf.control_dependencies([tf.debugging.Assert(same_size, ["not the size of its image:", label_path])]):
        return image, tf.identity(label_ids)
