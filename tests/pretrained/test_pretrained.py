"""A model takes the layers of a pretrained backbone: all of them, or none."""

from __future__ import annotations

import numpy as np
import pytest

from acfnet_tf import ACFNet, pretrained_model
from acfnet_tf.config import ModelConfig
from acfnet_tf.errors import UserError
from acfnet_tf.pretrained import find_weights
from acfnet_tf.pretrained.pretrained import Pretrained
from tests.pretrained.test_own_model import tiny, values
from tests.saving import randomize


def backbone_layers(model: ACFNet) -> dict[str, list[np.ndarray]]:
    return {
        name: model.get_layer(name).get_weights() for name in model.backbone_layers if model.get_layer(name).weights
    }


@pytest.fixture
def pretrained(monkeypatch):
    """Makes `find_weights` find the backbone of that model, whatever it is asked for."""

    def give(layers, **settings) -> None:
        found = Pretrained("resnet18.pth", layers, settings, unused=("fc.weight",))
        monkeypatch.setattr("acfnet_tf.pretrained.find.find_pretrained", lambda *arguments: found)

    return give


def test_weights_of_a_backbone_are_taken_and_accounted_for(pretrained):
    source = tiny(5, stem="deep_64")
    randomize(source, seed=1)
    pretrained(backbone_layers(source), stem="deep_64", pixel_std=(1.0, 1.0, 1.0))
    model = pretrained_model(num_classes=7, backbone="resnet18", backbone_width=4, channels=8)
    assert (model.stem, model.pixel_std) == ("deep_64", (1.0, 1.0, 1.0))
    assert model.backbone_layers == source.backbone_layers
    for name in model.backbone_layers:
        for ours, theirs in zip(model.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
    report = find_weights(ModelConfig(weights="resnet18.pth")).assign(model)
    assert "resnet18.pth: all 22 layers of resnet18 taken" in report
    assert "aspp (" in report and "acf (" in report and "fc.weight" in report


@pytest.mark.parametrize("fault", ["missing", "superfluous", "shape"])
def test_weights_that_do_not_fit_are_named_and_nothing_is_taken(pretrained, fault):
    layers = backbone_layers(tiny(5))
    if fault == "missing":
        del layers["stage2_block1_conv2"]
        said = "missing there: stage2_block1_conv2"
    elif fault == "superfluous":
        layers["stage5_block1_conv1"] = layers["stem_conv1"]
        said = "superfluous there: stage5_block1_conv1"
    else:
        layers["stem_conv1"] = [layers["stem_conv1"][0][:5], *layers["stem_conv1"][1:]]
        said = r"of another shape: stem_conv1 .*\(5, 7, 3, 4\)"
    pretrained(layers)
    model = tiny(5)
    fresh = values(model)
    with pytest.raises(UserError, match=said) as refused:
        find_weights(ModelConfig(weights="resnet18.pth")).assign(model)
    assert "\n" not in str(refused.value)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, fresh[path])


def test_models_of_ours_and_random_weights_are_found_too(tmp_path):
    source = tiny(5)
    source.save(tmp_path / "model.keras")
    config = ModelConfig(5, "resnet18", weights=str(tmp_path), backbone_width=4, channels=8, aspp_rates=(1, 2))
    assert "variables taken" in find_weights(config).assign(tiny(5))
    config = ModelConfig(5, "resnet18", weights="none")
    assert find_weights(config).config == ModelConfig(5, "resnet18", weights="none", initialization="random weights")
