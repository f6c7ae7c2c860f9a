"""Decoded samples on disk, for training that decoding would hold up. A folder in memory (/dev/shm) caches in RAM."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.data.decoding import DECODING, Decoder
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError
from acfnet_tf.files import replaced
from acfnet_tf.fingerprints import fingerprint
from acfnet_tf.progress import ProgressBar


def cached(
    decode: Decoder, samples: Sequence[Sample], folder: str | Path, parallel_calls: int
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Decodes every sample that is not in the folder yet into it, and returns what reads them from there.

    A file is named after its sources, their sizes and times, so that changed sources are decoded again.

    Returns:
        The same function as `decode`.

    Raises:
        DataError: the folder cannot be written.
        tf.errors.OpError: a sample cannot be decoded.
    """
    folder = Path(os.path.expanduser(folder))
    files = [folder / f"{_key(sample, decode.coding)}.raw" for sample in samples]
    missing = sorted({file: index for index, file in enumerate(files) if not file.exists()}.values())
    dataset = tf.data.Dataset.from_tensor_slices(np.array(missing, np.int64)).map(decode, parallel_calls)
    pairs = ProgressBar(
        dataset.as_numpy_iterator(), f"Decoding into {folder}", len(missing), unit="image", disable=not missing or None
    )
    try:
        for index, (image, values) in zip(missing, pairs, strict=True):
            with replaced(files[index]) as partial:
                partial.write_bytes(np.int32(values.shape).tobytes() + image.tobytes() + values.tobytes())
    except OSError as error:
        raise DataError(f"data.cache={folder}: cannot be written ({error.strerror or error}).") from error

    paths = tf.constant([os.fsencode(file) for file in files])

    def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        content = tf.io.decode_raw(tf.io.read_file(paths[index]), tf.uint8)
        height, width = tf.unstack(tf.bitcast(tf.reshape(content[:8], (2, 4)), tf.int32))
        values_start = 8 + height * width * 3
        image = tf.reshape(content[8:values_start], (height, width, 3))
        values = tf.bitcast(tf.reshape(content[values_start:], (height, width, decode.dtype.size)), decode.dtype)
        return image, values

    return read


def _key(sample: Sample, coding: str) -> str:
    sources = "|".join(f"{source} {fingerprint(source)}" for source in (sample.image, sample.label))
    return hashlib.sha256(os.fsencode(f"{DECODING}|{coding}|{sources}")).hexdigest()[:32]
