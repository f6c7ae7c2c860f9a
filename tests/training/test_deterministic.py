"""`train.deterministic`: no operation of a step is one of those whose results differ from run to run on GPUs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as framework_config

from tests.tiny import TINY_SETTINGS, tiny_experiment
from tests.training.steps import make_step

pytestmark = pytest.mark.usefixtures("shallow")

ROOT = Path(__file__).parents[2]
REFUSED = re.compile(
    r"AdjustContrast(v2)?|ResizeNearestNeighborGrad|SparseTensorDenseMatMul|(Dense|Ragged)?Bincount|MaxPoolGradWithArgmax"
    r"|CropAndResizeGrad(Boxes|Image)|FakeQuantWithMinMaxVars(PerChannel)?Gradient|Dilation2DBackprop(Filter|Input)"
    r"|(Sparse)?SoftmaxCrossEntropyWithLogits|Scatter(Add|Sub|Mul|Div|Update|NdAdd|NdSub|NdUpdate)|Svd"
    r"|(Parameterized|Stateful)?(Truncated|Standard)?(Random)(Normal|Uniform|UniformInt|Gamma|Shuffle).*"
)
"""What TensorFlow 2.21 refuses on GPUs once determinism is asked for, as its library's messages say, and random numbers
without a seed. `FusedBatchNormGradV3` is another where it does not train."""


def operations(function: tf.types.experimental.ConcreteFunction) -> list[tf.compat.v1.NodeDef]:
    """Those of its graph and of all functions that this calls."""
    graph = function.graph.as_graph_def()
    return [*graph.node, *(node for each in graph.library.function for node in each.node_def)]


def refused(nodes: list[tf.compat.v1.NodeDef]) -> set[str]:
    names = {node.op for node in nodes if REFUSED.fullmatch(node.op)}
    for node in nodes:
        if node.op.startswith("FusedBatchNormGrad") and not node.attr["is_training"].b:
            names.add("FusedBatchNormGrad of given statistics")
    return names


def traced(name: str, *settings: str) -> list[tf.compat.v1.NodeDef]:
    """The operations of a training step of the small twin."""
    step = make_step(tiny_experiment(name, *settings))
    batch = {"image": tf.zeros((4, 33, 49, 3)), "label": tf.zeros((4, 33, 49), tf.uint8)}
    return operations(step._step.get_concrete_function(batch))


@pytest.fixture
def asked_for(monkeypatch) -> None:
    """As after `enable_op_determinism`, which cannot be taken back."""
    monkeypatch.setattr(framework_config, "is_op_determinism_enabled", lambda: True)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("acf_aspp_ob", ("train.precision=mixed_bfloat16", "train.ema_momentum=0.9", "train.clip_norm=1")),
        ("class_center", ("model.context=psp", "train.optimizer=adamw")),
        ("acf_mobilenet", ("model.class_feature=acf_concat",)),
    ],
)
def test_a_step_holds_no_operation_that_is_refused(name, settings, asked_for, monkeypatch):
    monkeypatch.setattr("acfnet_tf.training.step.pays", lambda: True)
    nodes = traced(name, *settings)
    assert refused(nodes) == set()
    kinds = {node.op for node in nodes}
    assert "LogSoftmax" in kinds  # of which TensorFlow's Python then makes the cross entropy
    assert "FusedBatchNormGradV3" not in kinds


def test_without_it_the_cross_entropy_is_one_of_those():
    nodes = traced("resnet101")
    assert refused(nodes) == {"SparseSoftmaxCrossEntropyWithLogits"}
    assert "FusedBatchNormGradV3" in {node.op for node in nodes}  # as nothing is compiled here


def test_two_runs_from_the_command_line_are_the_same_to_the_bit(tiny_scenes, tmp_path):
    steps = ("train.steps=2", "train.micro_batch=4", "train.loss.ohem=true", "train.deterministic=true")
    settings = (*TINY_SETTINGS, *steps)
    command = [sys.executable, "main.py", "--mode=train", "--experiment=acf_sum_small", f"--data_dir={tiny_scenes}"]
    command += [f"--set={setting}" for setting in settings]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([*command, f"--run_dir={tmp_path / run}"], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        for run in "ab"
    ]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-3000:]
    with np.load(*(tmp_path / "a/checkpoints").iterdir()) as a, np.load(*(tmp_path / "b/checkpoints").iterdir()) as b:
        assert a.files == b.files
        for name in a.files:
            assert a[name].tobytes() == b[name].tobytes(), name
