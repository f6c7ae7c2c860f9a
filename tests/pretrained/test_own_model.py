"""Fine-tuning from another run's weights: what fits is taken, and the user is told what did not."""

from __future__ import annotations

import errno
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf import ACFNet, files
from acfnet_tf.config import ModelConfig
from acfnet_tf.errors import UserError
from acfnet_tf.models.create import create_model
from acfnet_tf.pretrained import find_weights
from tests.saving import randomize

pytestmark = pytest.mark.usefixtures("shallow")


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


def initialize(model: ACFNet, source) -> str:
    config = ModelConfig(backbone=model.backbone, backbone_width=model.backbone_width, weights=str(source))
    return find_weights(config).assign(model)


CLASSIFIERS = {f"{head}_logits/{name}" for head in ("aux", "coarse", "fine") for name in ("kernel", "bias")}


@pytest.mark.parametrize(
    ("class_feature", "of_classes"),
    [
        (None, CLASSIFIERS - {"coarse_logits/kernel", "coarse_logits/bias"}),
        ("class_center", CLASSIFIERS | {"acf/fusion/kernel"}),
        ("acf_concat", CLASSIFIERS | {"acf/class_attention/kernel"}),
        ("acf_sum", CLASSIFIERS),
    ],
)
def test_with_other_classes_all_but_the_variables_of_classes_are_taken(tmp_path, class_feature, of_classes):
    source = saved(tiny(5, class_feature), tmp_path)
    model = tiny(7, class_feature, name="another_name")
    fresh = values(model)
    report = initialize(model, tmp_path)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, (fresh if path in of_classes else source)[path], err_msg=path)
        assert (f"{path} {source[path].shape} → {value.shape}" in report) == (path in of_classes)
    assert f"{len(source) - len(of_classes)} of {len(source)} variables taken" in report
    assert "It has 5 classes, this model 7" in report
    assert "re-initialised" in report and "new" not in report and "left" not in report


def test_with_the_same_classes_everything_is_taken_whatever_the_dtype_policy(tmp_path):
    source = saved(tiny(5), tmp_path)
    model = tiny(5, dtype="mixed_bfloat16")
    report = initialize(model, tmp_path / "model.keras")
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, source[path], err_msg=path)
    assert len(report.splitlines()) == 1
    assert f"{len(source)} of {len(source)}" in report


def test_layers_that_only_one_of_the_models_has_are_named(tmp_path):
    source = saved(tiny(5, None), tmp_path)
    model = tiny(5, "class_center", context=None)
    report = initialize(model, tmp_path).splitlines()
    np.testing.assert_array_equal(values(model)["stem_conv1/conv/kernel"], source["stem_conv1/conv/kernel"])
    (new,) = [line for line in report if "new" in line]
    assert "coarse_logits (2), acf (7)" in new
    (left,) = [line for line in report if "left" in line]
    assert left.endswith(": aspp (20)")


def test_a_long_report_is_shortened(tmp_path):
    saved(tiny(5, channels=16), tmp_path)
    report = initialize(tiny(5), tmp_path)
    assert len(report.splitlines()) == 2
    assert report.endswith(" more")
    assert len(report) < 700


@pytest.mark.parametrize("other", [{"backbone_width": 8}, {"backbone": "resnet34"}])
def test_another_backbone_is_refused_with_the_setting_that_helps(tmp_path, other):
    saved(tiny(5, **other), tmp_path)
    model = tiny(5)
    fresh = values(model)
    ((name, value),) = other.items()
    with pytest.raises(UserError, match=f"--set model.{name}={value}$") as refused:
        initialize(model, tmp_path)
    assert "\n" not in str(refused.value)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, fresh[path])


def test_the_variant_and_the_preprocessing_come_with_the_weights(tmp_path):
    variant = {"stem": "deep_64", "conv_bias": True, "batch_norm_epsilon": 1e-3, "pixel_mean": (1.0, 2.0, 3.0)}
    source = saved(tiny(5, **variant), tmp_path)
    config = ModelConfig(5, "resnet18", weights=str(tmp_path), backbone_width=4, channels=8, aspp_rates=(1, 2))
    found = find_weights(config)
    assert {name: getattr(found.config, name) for name in variant} == variant
    assert found.config.initialization == str(tmp_path)
    model = create_model(found.config)
    found.assign(model)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, source[path], err_msg=path)


def test_none_is_random_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()  # a word is a word, whatever lies around
    found = find_weights(ModelConfig(5, "resnet18", weights="none"))
    assert found.config.initialization == "random weights"
    assert "random" in found.assign(tiny(5))


def test_a_model_of_another_kind_is_refused(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match="not an ACFNet"):
        initialize(tiny(5), tmp_path)


def test_a_source_that_is_missing_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no file or run folder"):
        initialize(tiny(5), tmp_path / "nothing")


def test_variables_of_a_strategy_are_initialised_on_every_replica(tmp_path):
    source = saved(tiny(5), tmp_path)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = tiny(7)
    initialize(model, tmp_path)
    kernel = model.get_layer("stem_conv1").conv.kernel
    for replica in strategy.experimental_local_results(kernel.value):
        np.testing.assert_array_equal(replica.numpy(), source["stem_conv1/conv/kernel"])


def test_a_run_in_the_home_folder_and_a_read_error_that_passes(tmp_path, monkeypatch):
    source = saved(tiny(5), tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(files, "PAUSES", (0,))
    zip_file, failures = zipfile.ZipFile, [OSError(errno.ESTALE, "Stale file handle")]
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args: zip_file(*args) if not failures else fail(failures.pop()))
    model = tiny(5)
    assert "variables taken" in initialize(model, "~/model.keras")
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, source[path], err_msg=path)


def fail(error: Exception) -> None:
    raise error
