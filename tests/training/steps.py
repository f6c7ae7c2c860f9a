"""Training steps without a run around them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from acfnet_tf.config import Experiment
from acfnet_tf.losses import head_losses
from acfnet_tf.models.create import create_model
from acfnet_tf.training.loss_scale import LossScale
from acfnet_tf.training.optimizer import create_optimizer
from acfnet_tf.training.step import TrainStep


def make_step(experiment: Experiment, strategy: tf.distribute.Strategy | None = None) -> TrainStep:
    """What `acfnet_tf.training.loop` makes of an experiment of 19 classes on one device, with equal class weights."""
    config, strategy = experiment.train, strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = create_model(experiment.model, config.precision)
        optimizer = create_optimizer(config, model.head_variables)
        optimizer.build(model.trainable_variables)
        loss_scale = LossScale() if config.precision == "mixed_float16" else None
    loss = head_losses(config.loss, model.output, np.ones(19))
    return TrainStep(strategy, model, optimizer, loss, config.batch_size, config.batch_size, loss_scale, xla=config.xla)
