"""Tiny random networks, the same for every test of what is drawn of them."""

from __future__ import annotations

from typing import Any

import keras

import acfnet_tf
from acfnet_tf.config import EvaluationConfig
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.visualization.panels import Run


def tiny_run(name: str, *, evaluation: EvaluationConfig | None = None, **settings: Any) -> Run:
    keras.utils.set_random_seed(1)
    tiny = {"num_classes": 19, "backbone": "resnet18", "backbone_width": 4, "channels": 8, "aspp_rates": (2, 3)}
    return Run(name, Predictor(acfnet_tf.ACFNet(**tiny | settings), evaluation or EvaluationConfig()))
