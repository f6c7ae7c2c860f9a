"""The small twin of an experiment: the same wiring on a light network and small scenes, for two CPU cores."""

from __future__ import annotations

import dataclasses
from typing import Any

from acfnet_tf.config import Experiment


def small_twin(experiment: Experiment) -> Experiment:
    """Trains in minutes. Its name is that of the experiment with `_small` appended."""
    loss = dataclasses.replace(experiment.train.loss, class_weights="inverse_log", ohem_min_kept=30_000)
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}_small",
        model=dataclasses.replace(
            experiment.model, channels=64, aspp_rates=(3, 6, 9), **_light_backbone(experiment.model.backbone)
        ),
        data=dataclasses.replace(
            experiment.data,
            crop_size=(193, 193),
            scale_range=(0.75, 1.5),
            scene_size=(256, 512),
            scene_train=1_600,
            scene_val=100,
        ),
        train=dataclasses.replace(
            experiment.train,
            loss=loss,
            steps=2_000,
            learning_rate=0.1 if experiment.train.optimizer == "sgd" else 0.001,
            checkpoint_every=500,
            validate_every=500,
            validate_images=50,
        ),
        evaluation=dataclasses.replace(experiment.evaluation, window=(193, 193)),
    )


def _light_backbone(backbone: str) -> dict[str, Any]:
    """Fields of `ModelConfig` for the light relative of a backbone."""
    if backbone == "efficientnet_lite0":  # is light, and its ImageNet weights are for all of it
        return {}
    if backbone.startswith("resnet"):
        return {"backbone": "resnet18", "backbone_width": 16, "weights": "none"}
    return {"backbone_width": 32, "weights": "none"}
