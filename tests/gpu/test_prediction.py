"""What a trained network says on a GPU is what it says on a CPU, and so do the files that it is exported to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import EvaluationConfig, ExportConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.reading import read_image
from acfnet_tf.export.export import export
from acfnet_tf.export.verification import ROUNDED_LABELS
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.create import create_model
from tests.gpu.conftest import LEARNING
from tests.tiny import tiny_experiment

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val", "test")
PREDICT = """
import sys
from tests.running import run
from tests.tiny import shallow_resnet
with shallow_resnet():
    run(*sys.argv[1:])
"""
EQUAL_LABELS = {"float32": 0.9999, "tf32": 0.99, "mixed_float16": 0.99, "mixed_bfloat16": 0.98}
"""Least share of the pixels of all scenes."""


@pytest.fixture(scope="module")
def model_file(trained, tmp_path_factory) -> Path:
    """Of a network that has learned the scenes."""
    step, losses = trained(*LEARNING, "train.precision=tf32", steps=100)
    assert losses[-1]["total"] < 0.5 * losses[0]["total"]
    model = create_model(tiny_experiment("acf_aspp_ob", *LEARNING).model)
    model.set_weights(step.model.get_weights())
    file = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(file)
    return file


@pytest.fixture(scope="module")
def labels_of_a_cpu(model_file, tiny_scenes, tmp_path_factory) -> dict[str, np.ndarray]:
    """Of every scene by its file, from a process that sees no GPU."""
    output, scenes = tmp_path_factory.mktemp("labels"), tiny_scenes / "leftImg8bit"
    flags = ["--mode=predict", f"--model={model_file}", f"--input={scenes}", f"--output={output}"]
    command = [sys.executable, "-c", PREDICT, *flags, "--set=evaluation.precision=float32"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    files = [sample.image for split in SPLITS for sample in list_samples(tiny_scenes, split)]
    return {file: np.array(Image.open(output / Path(file).relative_to(scenes))) for file in files}


@pytest.mark.parametrize("precision", EQUAL_LABELS)
def test_labels_are_those_of_a_cpu(precision, model_file, labels_of_a_cpu):
    predictor = Predictor(model_file, EvaluationConfig(precision=precision))
    equal = [predictor(read_image(file)) == labels for file, labels in labels_of_a_cpu.items()]
    assert len(equal) == 9
    assert len(np.unique(np.stack(list(labels_of_a_cpu.values())))) > 9, "it has learned nothing"
    assert np.mean(equal) >= EQUAL_LABELS[precision]


@pytest.mark.parametrize("evaluation", [{"flip": True}, {"mode": "sliding", "window": (33, 65)}])
def test_averages_of_several_views_are_those_of_a_cpu(evaluation, model_file, labels_of_a_cpu):
    """Exactly in float32, and in TF32 nearly so."""
    image = read_image(next(iter(labels_of_a_cpu)))
    exact, rounded = (
        Predictor(model_file, EvaluationConfig(precision=precision, **evaluation)).probabilities(image)["fine"]
        for precision in ("float32", "tf32")
    )
    np.testing.assert_allclose(exact.sum(-1), 1, rtol=1e-5)
    assert np.abs(rounded - exact).mean() < 2e-3


@pytest.mark.parametrize(
    ("format", "precision"),
    [("saved_model", "tf32"), ("saved_model", "mixed_bfloat16"), ("onnx", "tf32"), ("keras", "float32")],
)
def test_an_export_is_verified(format, precision, model_file, tiny_scenes, tmp_path):
    """`export` raises where the file does not say what the network says."""
    predictor = Predictor(model_file, EvaluationConfig(precision=precision))
    samples = list_samples(tiny_scenes, "val")
    result = export(predictor, format, tmp_path, "tiny", CITYSCAPES, ExportConfig(), samples)
    assert result.path.exists()
    least = ROUNDED_LABELS if precision == "mixed_bfloat16" else 0.999
    assert min(row.equal for row in result.verification.comparisons) >= least
