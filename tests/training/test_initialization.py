"""A run begins with weights and the network that they ask for, and continues without them."""

from __future__ import annotations

import shutil

import pytest

from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.models.create import create_model
from acfnet_tf.train import train
from acfnet_tf.training.run_folder import read_config
from tests.saving import randomize
from tests.tiny import tiny_experiment

pytestmark = pytest.mark.usefixtures("light")

SETTINGS = ("train.steps=2", "train.checkpoint_every=1", "train.learning_rate=1e-12")


@pytest.fixture(scope="module")
def other_run(tmp_path_factory):
    """A run folder with a model of an unusual variant."""
    folder = tmp_path_factory.mktemp("other_run")
    experiment = tiny_experiment("acf_sum", "model.stem=deep_64", "model.pixel_mean=1,2,3")
    model = create_model(experiment.model)
    randomize(model)
    model.save(folder / "model.keras")
    return folder


def test_what_the_weights_ask_for_is_recorded_and_a_run_continues_without_them(other_run, tiny_scenes, tmp_path, capfd):
    weights = tmp_path / "weights"
    shutil.copytree(other_run, weights)
    experiment = tiny_experiment("acf_sum", *SETTINGS, f"model.weights={weights}")
    run_dir = tmp_path / "run"
    train(experiment, run_dir, str(tiny_scenes))
    assert f"Initialised from {weights}" in capfd.readouterr().out
    recorded = read_config(run_dir).model
    assert (recorded.stem, recorded.pixel_mean) == ("deep_64", (1.0, 2.0, 3.0))
    assert recorded.weights == recorded.initialization == str(weights)

    shutil.rmtree(weights)
    (run_dir / "checkpoints" / "step_00000002.npz").unlink()
    train(experiment, run_dir, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert "continues at step 1 of 2" in printed
    assert "Initialised" not in printed
    assert read_config(run_dir).model == recorded

    with pytest.raises(ConfigError, match=r"model\.weights was .*, is now none"):
        train(tiny_experiment("acf_sum", *SETTINGS), run_dir, str(tiny_scenes))


def test_weights_that_are_not_there_leave_no_run_folder(tiny_scenes, tmp_path):
    experiment = tiny_experiment("acf_sum", f"model.weights={tmp_path / 'resnet18.pth'}")
    with pytest.raises(UserError, match=r"resnet18\.pth"):
        train(experiment, tmp_path / "run", str(tiny_scenes))
    assert not (tmp_path / "run").exists()
