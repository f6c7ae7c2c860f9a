"""Weights of a backbone, what they ask of the network around them, and how a model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acfnet_tf.errors import UserError
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.pretrained.report import NAMES_SHOWN, count_in_layers, first_of, report


@dataclass(frozen=True)
class Pretrained:
    """Weights of a backbone, in our layout and under our names.

    Attributes:
        source: where they are from, for people and for config.json.
        layers: {name of our layer: its weights, in the order of `layer.weights`}.
        settings: fields of `ModelConfig` that the weights prescribe: the variant of the network and its preprocessing,
            such as {"stem": "7x7", "pixel_mean": (…), …}.
        unused: what else is in the source, under its own names: the classifier.
    """

    source: str
    layers: Mapping[str, Sequence[np.ndarray]]
    settings: Mapping[str, Any]
    unused: Sequence[str] = ()

    def give_to(self, model: ACFNet) -> str:
        """Gives the model's backbone all of its layers, exactly, and returns a report for the user.

        Raises:
            UserError: a layer is missing, superfluous, or of another shape. The model is then as it was.
        """
        ours = {name: layer.weights for name in model.backbone_layers if (layer := model.get_layer(name)).weights}
        shapes = {
            name: ([np.shape(array) for array in self.layers[name]], [tuple(variable.shape) for variable in ours[name]])
            for name in sorted(ours.keys() & self.layers.keys())
        }
        wrong = {
            "missing there": sorted(ours.keys() - self.layers.keys()),
            "superfluous there": sorted(self.layers.keys() - ours.keys()),
            "of another shape": [f"{name} {there} → {here}" for name, (there, here) in shapes.items() if there != here],
        }
        if any(wrong.values()):
            differences = "; ".join(f"{kind}: {first_of(names, NAMES_SHOWN)}" for kind, names in wrong.items() if names)
            raise UserError(f"{self.source} does not fit {model.backbone} (layers {differences})")
        for name, variables in ours.items():
            for variable, array in zip(variables, self.layers[name], strict=True):
                variable.assign(np.asarray(array, np.float32))
        others = [variable.path for variable in model.variables if variable.path.split("/")[0] not in ours]
        return report(
            f"Initialised from {self.source}: all {len(ours)} layers of {model.backbone} taken.",
            {"new, not in the source": count_in_layers(others), "left, only in the source": self.unused},
        )
