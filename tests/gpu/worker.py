"""What must be tried on a GPU in a process of its own. Prints a JSON object.

Usage: worker.py deterministic DATA_DIR | worker.py memory HEIGHT WIDTH
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.reading import load_sample
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.layers.precision import running
from acfnet_tf.measure.memory import training_bytes
from acfnet_tf.recipes import load_experiment
from tests.tiny import shallow_resnet, tiny_experiment
from tests.training.steps import make_step

NETWORKS = {
    "acf_aspp_ob": ("train.precision=mixed_bfloat16", "train.ema_momentum=0.9", "train.clip_norm=1"),
    "acf_concat": (),
    "class_center": ("model.context=psp", "train.optimizer=adamw"),
    "resnet101": ("train.precision=float32",),
    "acf_mobilenet": ("model.weights=none",),
    "acf_segformer": ("model.weights=none",),
}
"""Experiments and settings that together have every head, and depthwise convolutions."""

Batch = dict[str, tf.Tensor]


def scenes(data_dir: str | Path) -> Batch:
    """Four scenes with their labels, as a batch."""
    samples = [load_sample(sample, CITYSCAPES) for sample in list_samples(Path(data_dir), "train")[:4]]
    images, labels = (np.stack(arrays) for arrays in zip(*samples, strict=True))
    return {"image": tf.constant(images, tf.float32), "label": tf.constant(labels)}


def deterministic(data_dir: str) -> dict[str, str]:
    """What the second of two equal steps says of each network: "same", or how many variables differ, or an error."""
    tf.config.experimental.enable_op_determinism()
    batch, said = scenes(data_dir), {}
    for name, settings in NETWORKS.items():
        experiment = tiny_experiment(name, *settings)
        step = make_step(experiment)
        variables = step.model.weights + step.optimizer.variables
        before, results = [variable.numpy() for variable in variables], []
        try:
            with running(experiment.train.precision):
                for _ in range(2):
                    for variable, value in zip(variables, before, strict=True):
                        variable.assign(value)
                    step(batch)
                    results.append([variable.numpy().tobytes() for variable in variables])
        except tf.errors.OpError as error:
            said[name] = error.message
            continue
        different = sum(a != b for a, b in zip(*results, strict=True))
        said[name] = f"{different} of {len(variables)} variables differ" if different else "same"
    return said


def memory(height: str, width: str) -> dict[str, int | None]:
    """Bytes that a training step takes beyond what is there before it, and what is estimated.

    The first step is left out: cuDNN tries its algorithms there, with workspaces of all sizes.
    """
    size = int(height), int(width)
    settings = ("model.backbone=resnet50", "model.channels=256", "train.batch_size=8")
    step = make_step(load_experiment("acf_aspp", [*settings, f"data.crop_size={height},{width}"]))
    batch = {"image": tf.random.uniform((8, *size, 3), 0, 255), "label": tf.zeros((8, *size), tf.uint8)}
    fixed, per_sample = training_bytes(step.model, size, device_type="GPU")
    estimate = fixed + 8 * per_sample
    if not tf.config.get_visible_devices("GPU"):  # Nothing else counts.
        return {"estimate": estimate, "taken": None}
    before = tf.config.experimental.get_memory_info("GPU:0")["current"]
    with running("tf32"):
        step(batch)
        tf.config.experimental.reset_memory_stats("GPU:0")
        step(batch)["total"].numpy()
    return {"estimate": estimate, "taken": tf.config.experimental.get_memory_info("GPU:0")["peak"] - before}


if __name__ == "__main__":
    with shallow_resnet():
        print(json.dumps({"deterministic": deterministic, "memory": memory}[sys.argv[1]](*sys.argv[2:])))
