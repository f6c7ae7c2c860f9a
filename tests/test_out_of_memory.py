"""What does not fit into memory ends in one line with the remedy; TensorFlow itself runs out of memory here."""

from __future__ import annotations

import re

import pytest
import tensorflow as tf

from acfnet_tf.errors import UserError
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.losses.heads import HeadLosses
from acfnet_tf.measure.memory import less_memory
from acfnet_tf.models.create import create_model
from acfnet_tf.out_of_memory import saying_what_helps
from acfnet_tf.train import train
from tests.running import run
from tests.tiny import TINY_SETTINGS, tiny_experiment

TERABYTES = 2**40


def with_memory(values: tf.Tensor, samples: tf.Tensor, fitting: int) -> tf.Tensor:
    """The values, at the price of terabytes for every sample more than fit."""
    nothing = tf.cast(tf.math.is_nan(tf.reduce_max(values)), tf.int32)  # but for the optimizer of the graph
    more = tf.maximum(tf.shape(samples)[0] - fitting, 0) + nothing
    return values + tf.cast(tf.reduce_sum(tf.zeros(tf.stack([more, TERABYTES // 1024, 1024]))), values.dtype)


@pytest.fixture
def two_samples_fit(monkeypatch):
    """In a training step."""
    call = HeadLosses.__call__

    def losses(self, logits, labels, *arguments):
        found = call(self, logits, labels, *arguments)
        return found | {"total": with_memory(found["total"], labels, 2)}

    monkeypatch.setattr(HeadLosses, "__call__", losses)


@pytest.fixture
def no_image_fits(monkeypatch):
    """In a forward pass of the predictor."""
    logits = Predictor._logits

    def large(self, images, heads):
        return {head: with_memory(values, images, 0) for head, values in logits(self, images, heads).items()}

    monkeypatch.setattr(Predictor, "_logits", large)


def test_a_step_that_does_not_fit_names_the_setting_that_continues_the_run(two_samples_fit, tiny_scenes, tmp_path):
    settings = [f"--set={setting}" for setting in (*TINY_SETTINGS, "train.steps=2")]
    command = ["--mode=train", "--experiment=resnet101_small", f"--run_dir={tmp_path / 'run'}"]
    command += [f"--data_dir={tiny_scenes}", *settings]
    with pytest.raises(SystemExit) as ended:
        run(*command)
    (line,) = str(ended.value.code).splitlines()  # A text is shown, and the exit status is 1.
    assert line.startswith(
        "Error: not enough memory: a step on 4 samples at once does not fit; the run continues with "
    )
    assert re.search(r" on [CG]PU:0 by allocator", line) and "/job:" not in line and "node" not in line
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))
    (setting,) = re.findall(r"--set train\.micro_batch=\d+", line)
    run(*command, *setting.split())
    assert (tmp_path / "run" / "model.keras").is_file()


def test_a_validation_that_does_not_fit_needs_smaller_images(no_image_fits, tiny_scenes, tmp_path):
    with pytest.raises(UserError, match=r"not enough memory: validation labels whole images.* \(TensorFlow says: OOM"):
        train(tiny_experiment("resnet101", "train.steps=1"), tmp_path, str(tiny_scenes))


def test_an_image_that_does_not_fit_is_to_be_labelled_in_windows(no_image_fits, tiny_scenes, tmp_path):
    create_model(tiny_experiment("resnet101").model).save(tmp_path / "model.keras")
    image = next(tiny_scenes.rglob("*leftImg8bit.png"))
    with pytest.raises(SystemExit) as ended:
        run("--mode=predict", f"--model={tmp_path / 'model.keras'}", f"--input={image}", f"--output={tmp_path / 'out'}")
    (line,) = str(ended.value.code).splitlines()
    assert "in windows by --set evaluation.mode=sliding" in line
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            tf.errors.InternalError(None, None, "{{function_node __wrapped__Mul}} failed to allocate memory [Op:Mul]"),
            "failed to allocate memory",
        ),
        (
            tf.errors.NotFoundError(
                None,
                None,
                "No algorithm worked!  Error messages:\n  Profiling failure on CUDNN engine eng28{}: UNAVAILABLE: "
                "Failed to allocate the requested memory size (2147483648).\n\t [[{{node conv2d}}]] [Op:__inference_1]",
            ),
            "Failed to allocate the requested memory size",
        ),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "Out of memory while trying to allocate 36077725912 bytes. [Op:__inference__step_9]"
            ),
            "Out of memory while trying to allocate 36077725912 bytes.",
        ),
    ],
    ids=["eager", "cudnn", "xla"],
)
def test_every_way_in_which_tensorflow_says_it(error, said):
    with pytest.raises(UserError, match=re.escape(said)) as refused, saying_what_helps():
        raise error
    assert "\n" not in str(refused.value) and "Op:" not in str(refused.value)
    assert "another program may hold memory" in str(refused.value)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "/disk/events.out; No space left on device"),
        tf.errors.InvalidArgumentError(None, None, "bad shape, in ROOM 3"),
    ],
)
def test_other_errors_stay(error):
    with pytest.raises(type(error)), saying_what_helps():
        raise error


@pytest.mark.parametrize(
    ("settings", "micro_batch", "replicas", "expected"),
    [
        ([], 8, 1, "4 .*train.rematerialize=true; a new one needs less with train.precision=mixed_bfloat16$"),
        ([], 8, 4, "4 "),
        (["train.batch_size=12"], 12, 2, "6 "),
        (["train.batch_size=12"], 4, 2, "2 "),
    ],
)
def test_the_next_smaller_micro_batch_divides_the_batch_among_the_devices(settings, micro_batch, replicas, expected):
    config = tiny_experiment("acf_sum", "train.batch_size=8", *settings).train
    text = less_memory(config, micro_batch, replicas)
    assert re.search(rf"the run continues with --set train\.micro_batch={expected}", text), text


def test_where_no_smaller_micro_batch_is_left_the_crop_has_to_be():
    settings = ("train.batch_size=8", "train.rematerialize=true", "train.precision=mixed_bfloat16")
    text = less_memory(tiny_experiment("acf_sum", *settings).train, 2, 2)
    assert text == "a step on 2 samples at once does not fit; a new one needs less with a smaller data.crop_size"
