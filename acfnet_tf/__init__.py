"""ACFNet, Attentional Class Feature Network for semantic segmentation (ICCV 2019), in Keras 3 on TensorFlow.

Importing this package registers every custom layer, so that `keras.models.load_model` reads its models.
"""

import sys

from acfnet_tf import keras_settings, onednn

onednn.turn_on()
try:
    keras_settings.check_settings()
except ImportError as error:
    if sys.argv[:1] != ["-m"]:  # else a program of this package is being started
        raise
    sys.exit(f"Error: {error}")

from acfnet_tf import layers, losses, serving
from acfnet_tf._version import __version__
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.pretrained import pretrained_model
from acfnet_tf.recipes import load_experiment
from acfnet_tf.training.optimizer import L2SGD, AdamW
from acfnet_tf.visualization.inspection import Inspector

__all__ = [
    "L2SGD",
    "ACFNet",
    "AdamW",
    "Inspector",
    "Predictor",
    "__version__",
    "layers",
    "load_experiment",
    "losses",
    "pretrained_model",
    "serving",
]
