"""Fine-tuning from another run's weights: what fits is taken, and the user is told what did not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf import ACFNet
from acfnet_tf.config import UserError
from acfnet_tf.training.initialize import initialize_from
from tests.saving import randomize


def tiny(classes: int, class_feature: str | None = "acf_sum", **arguments) -> ACFNet:
    arguments = {"backbone": "resnet18", "backbone_width": 4, "channels": 8, "aspp_rates": (1, 2)} | arguments
    return ACFNet(classes, class_feature=class_feature, **arguments)


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.variables}


def saved(model: keras.Model, folder) -> dict[str, np.ndarray]:
    """Saves it as a run does, with weights that no initialiser makes, and returns these."""
    randomize(model, seed=1)
    model.save(folder / "model.keras")
    return values(model)


CLASSIFIERS = {f"{head}_logits/{name}" for head in ("aux", "coarse", "fine") for name in ("kernel", "bias")}


@pytest.mark.parametrize(
    ("class_feature", "of_classes"),
    [
        (None, CLASSIFIERS - {"coarse_logits/kernel", "coarse_logits/bias"}),
        ("class_center", CLASSIFIERS | {"fusion/kernel"}),
        ("acf_concat", CLASSIFIERS | {"class_attention/kernel"}),
        ("acf_sum", CLASSIFIERS),
    ],
)
def test_with_other_classes_all_but_the_variables_of_classes_are_taken(tmp_path, class_feature, of_classes):
    source = saved(tiny(5, class_feature), tmp_path)
    model = tiny(7, class_feature, name="another_name")
    fresh = values(model)
    report = initialize_from(model, tmp_path)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, (fresh if path in of_classes else source)[path], err_msg=path)
        assert (f"{path} {source[path].shape} → {value.shape}" in report) == (path in of_classes)
    assert f"{len(source) - len(of_classes)} of {len(source)} variables taken" in report
    assert "re-initialised" in report and "new" not in report and "left" not in report


def test_with_the_same_classes_everything_is_taken_whatever_the_dtype_policy(tmp_path):
    source = saved(tiny(5), tmp_path)
    model = tiny(5, dtype="mixed_bfloat16")
    report = initialize_from(model, tmp_path / "model.keras")
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, source[path], err_msg=path)
    assert len(report.splitlines()) == 1
    assert f"{len(source)} of {len(source)}" in report


def test_layers_that_only_one_of_the_models_has_are_named(tmp_path):
    source = saved(tiny(5, None), tmp_path)
    model = tiny(5, "class_center", context=None)
    report = initialize_from(model, tmp_path).splitlines()
    np.testing.assert_array_equal(values(model)["stem_conv1/conv/kernel"], source["stem_conv1/conv/kernel"])
    (new,) = [line for line in report if "new" in line]
    assert "coarse_logits (2), class_centers (2), fusion (1), fusion_norm (4)" in new
    (left,) = [line for line in report if "left" in line]
    assert left.endswith(": aspp (20)")


def test_a_long_report_is_shortened(tmp_path):
    saved(tiny(5, backbone="resnet34"), tmp_path)
    report = initialize_from(tiny(5), tmp_path)
    assert len(report.splitlines()) == 2
    assert report.endswith(" more")
    assert len(report) < 500


def test_a_backbone_without_anything_in_common_is_refused(tmp_path):
    saved(tiny(5, backbone_width=4), tmp_path)
    model = tiny(5, backbone_width=8)
    fresh = values(model)
    with pytest.raises(UserError, match="backbone") as refused:
        initialize_from(model, tmp_path)
    assert "\n" not in str(refused.value)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, fresh[path])


def test_a_model_of_another_kind_is_refused(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match="backbone"):
        initialize_from(tiny(5), tmp_path)


def test_a_source_that_is_missing_is_refused(tmp_path):
    with pytest.raises(UserError, match="no model at"):
        initialize_from(tiny(5), tmp_path / "nothing")


def test_variables_of_a_strategy_are_initialised_on_every_replica(tmp_path):
    source = saved(tiny(5), tmp_path)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = tiny(7)
    initialize_from(model, tmp_path)
    kernel = model.get_layer("stem_conv1").conv.kernel
    for replica in strategy.experimental_local_results(kernel.value):
        np.testing.assert_array_equal(replica.numpy(), source["stem_conv1/conv/kernel"])
