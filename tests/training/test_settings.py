"""Settings of a training, each by what it does to the run's files."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from acfnet_tf import Predictor
from acfnet_tf.errors import UserError
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.train import train
from acfnet_tf.training.step import TrainStep
from tests.tiny import tiny_experiment

pytestmark = pytest.mark.usefixtures("shallow")


def weights_of(file) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in keras.models.load_model(file).weights}


def newest_checkpoint(run_dir):
    return np.load(max((run_dir / "checkpoints").glob("*.npz")))


def largest_difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(a[path] - b[path]).max()) for path in a)


@pytest.fixture(scope="module")
def plain(tiny_scenes, tmp_path_factory):
    """A run of two steps at a small learning rate, whose numbers rounding does not move far."""
    run_dir = tmp_path_factory.mktemp("plain")
    train(tiny_experiment("acf_aspp_ob", "train.learning_rate=0.003", "train.steps=2"), run_dir, str(tiny_scenes))
    return run_dir


@pytest.mark.parametrize(("setting", "tolerance"), [("rematerialize", 1e-5), ("xla", 1e-4)])
def test_rematerialization_and_xla_change_no_number(setting, tolerance, plain, tiny_scenes, tmp_path, monkeypatch):
    used, remat, init = set(), keras.remat, TrainStep.__init__
    monkeypatch.setattr(keras, "remat", lambda function: used.add("rematerialize") or remat(function))
    monkeypatch.setattr(TrainStep, "__init__", lambda *args: (args[-1] and used.add("xla")) or init(*args))
    settings = ("train.learning_rate=0.003", "train.steps=2", f"train.{setting}=true")
    model_file = train(tiny_experiment("acf_aspp_ob", *settings), tmp_path, str(tiny_scenes))
    assert largest_difference(weights_of(plain / "model.keras"), weights_of(model_file)) < tolerance
    assert used == {setting}


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_continues_and_saves_a_float32_model(precision, plain, tiny_scenes, tmp_path):
    settings = (
        "train.learning_rate=0.003",
        "train.steps=2",
        f"train.precision={precision}",
        "train.checkpoint_every=1",
    )
    model_file = train(tiny_experiment("acf_aspp_ob", *settings), tmp_path, str(tiny_scenes))
    model = keras.models.load_model(model_file)
    assert model.dtype_policy.name == "float32"
    assert Predictor(model)(np.zeros((20, 30, 3), np.uint8)).shape == (20, 30)
    reference = weights_of(plain / "model.keras")
    assert 0 < largest_difference(reference, weights_of(model_file)) < 0.5
    assert (precision == "mixed_float16") == ("loss_scale/scale" in newest_checkpoint(tmp_path))
    # The second step again, from the checkpoint of the first.
    (tmp_path / "checkpoints" / "step_00000002.npz").unlink()
    again = train(tiny_experiment("acf_aspp_ob", *settings), tmp_path, str(tiny_scenes))
    assert largest_difference(weights_of(again), {w.path: w.numpy() for w in model.weights}) == 0


def test_the_saved_model_has_the_averaged_weights(tiny_scenes, tmp_path):
    settings = ("train.learning_rate=0.01", "train.steps=3", "train.ema_momentum=0.9")
    saved = weights_of(train(tiny_experiment("acf_aspp_ob", *settings), tmp_path, str(tiny_scenes)))
    with newest_checkpoint(tmp_path) as checkpoint:
        averages = [name for name in checkpoint if name.endswith("_average")]
        assert len(averages) == sum(name.endswith("_momentum") for name in checkpoint)
        for path, value in saved.items():
            average = f"sgd/{path.replace('/', '_')}_average"
            expected = average if average in averages else path  # statistics of BatchNorm are averages anyway
            np.testing.assert_array_equal(value, checkpoint[expected], err_msg=path)
        assert any((checkpoint[path] != saved[path]).any() for path in saved)


def test_heads_that_do_not_learn_stay_as_they_were(tiny_scenes, tmp_path):
    settings = ("train.steps=2", "train.head_lr_multiplier=0", "train.checkpoint_every=1", "train.learning_rate=0.01")
    train(tiny_experiment("acf_aspp_ob", *settings), tmp_path, str(tiny_scenes))
    first, second = (np.load(tmp_path / "checkpoints" / f"step_0000000{step}.npz") for step in (1, 2))
    for name in ("fine_logits/kernel", "acf/class_attention/kernel", "aspp/projection/conv/kernel", "aux_logits/bias"):
        np.testing.assert_array_equal(first[name], second[name])
    assert (first["stem_conv1/conv/kernel"] != second["stem_conv1/conv/kernel"]).any()


def test_a_run_begins_with_the_weights_of_another(plain, tiny_scenes, tmp_path, capfd):
    settings = ("train.learning_rate=1e-12", "train.steps=2", "train.checkpoint_every=1", f"model.weights={plain}")
    train(tiny_experiment("acf_sum", *settings), tmp_path, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert f"Initialised from {plain}" in printed
    assert "aspp" in printed  # which the new network does not have
    source, begun = weights_of(plain / "model.keras"), weights_of(tmp_path / "model.keras")
    np.testing.assert_allclose(begun["stem_conv1/conv/kernel"], source["stem_conv1/conv/kernel"], atol=1e-9)
    (tmp_path / "checkpoints" / "step_00000002.npz").unlink()
    train(tiny_experiment("acf_sum", *settings), tmp_path, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert "continues at step 1 of 2" in printed
    assert "Initialised" not in printed


def test_tensorboard_shows_numbers_images_and_the_configuration(plain, tiny_scenes):
    events = EventAccumulator(str(plain / "tensorboard"), size_guidance={"images": 0, "tensors": 0}).Reload()
    tags = set(events.Tags()["tensors"])
    assert {f"train/loss_{head}" for head in ("aux", "coarse", "fine")} <= tags
    assert {"train/loss", "train/learning_rate", "train/images_per_second", "train/gradient_norm"} <= tags
    assert {"val/miou_coarse", "val/miou_fine", "configuration"} <= tags
    assert {f"val/{sample.name}" for sample in list_samples(tiny_scenes, "val")} <= tags
    assert {"classes/iou", "classes/confusion"} <= tags
    (configuration,) = events.Tensors("configuration")
    assert b'"learning_rate": 0.003' in configuration.tensor_proto.string_val[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.clip_norm=0", r"train\.clip_norm = 0\.0: expected a finite number above 0 or none"),
        (
            "train.ema_momentum=1",
            r"train\.ema_momentum = 1\.0: expected a finite number of at least 0 and below 1 or none",
        ),
        ("train.head_lr_multiplier=-1", r"train\.head_lr_multiplier = -1\.0: expected a finite number of at least 0"),
        ("model.weights=/no/such/run", r"/no/such/run"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_leave_nothing(setting, message, tiny_scenes, tmp_path):
    with pytest.raises(UserError, match=message):
        train(tiny_experiment("acf_sum", setting), tmp_path / "run", str(tiny_scenes))
    assert not list(tmp_path.iterdir())
