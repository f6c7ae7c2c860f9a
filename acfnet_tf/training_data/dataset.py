"""The training pipeline with all that `DataConfig` offers."""

from __future__ import annotations

import functools

from acfnet_tf.data import pipeline
from acfnet_tf.training_data.cache import cached
from acfnet_tf.training_data.photometric import change_colors

training_dataset = functools.partial(pipeline.training_dataset, change_colors=change_colors, cached=cached)
