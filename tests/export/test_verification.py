"""What is exported is compared with the Keras model before it takes its name."""

from __future__ import annotations

import errno
import math
import os
import shutil

import keras
import numpy as np
import pytest

from acfnet_tf.config import EvaluationConfig, ExportConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.errors import UserError
from acfnet_tf.export import export as export_module
from acfnet_tf.export import verification
from acfnet_tf.export.export import export
from acfnet_tf.export.formats import FORMATS, open_file
from acfnet_tf.export.litert import write_litert
from acfnet_tf.export.saved_model import write_saved_model
from acfnet_tf.export.scenes import read_scenes
from acfnet_tf.export.verification import CONFIDENCE_STEP, Comparison, verify_file, verify_int8, verify_saved_model
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.importers.open import open_data
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.create import create_model
from acfnet_tf.pictures import Picture
from tests.tiny import tiny_experiment, write_tiny_scenes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_data(tiny_experiment().data, str(write_tiny_scenes(tmp_path_factory.mktemp("scenes"))))


@pytest.fixture(scope="module")
def samples(data):
    return data.list_samples("val")


@pytest.fixture(scope="module")
def stranger():
    """A predictor with other weights."""
    keras.utils.set_random_seed(1)
    return Predictor(create_model(tiny_experiment().model))


@pytest.fixture(scope="module")
def export_it(predictor, samples):
    def run(format, output, config=None, by=predictor, samples=samples, **options):
        return export(by, format, output, "tiny", CITYSCAPES, config or ExportConfig(), samples, **options)

    return run


def files_in(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("format", "files"),
    [
        ("litert", ["tiny.tflite"]),
        ("onnx", ["tiny.onnx"]),
        ("openvino", ["tiny_openvino/tiny.bin", "tiny_openvino/tiny.xml"]),
        ("keras", ["tiny.keras"]),
    ],
)
def test_a_file_says_what_the_predictor_says(format, files, export_it, predictor, make_picture, tmp_path):
    for file in [*files, f"{files[0]}.old"] if format == "openvino" else files:
        (tmp_path / "export" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "export" / file).write_text("of an earlier export")
    result = export_it(format, tmp_path / "export")
    assert files_in(tmp_path / "export") == sorted([*files, "tiny.classes.json"])
    assert result.size == sum((tmp_path / "export" / file).stat().st_size for file in files)
    image = make_picture(45, 70)
    np.testing.assert_array_equal(open_file(format, result.path)(image)["labels"], predictor(image))
    table = result.table()
    assert table.count("100.000 %") == 4 and table.count("64×128") == table.count("45×93") == 2
    assert f"Size on disk: {result.size / 2**20:.1f} MiB" in table


def test_a_saved_model_says_what_the_predictor_says(export_it, predictor, tmp_path):
    flipping = Predictor(predictor.model, EvaluationConfig(flip=True))
    (tmp_path / "tiny" / "4").mkdir(parents=True)
    result = export_it("saved_model", tmp_path, ExportConfig(probabilities=True), flipping)
    assert result.path == tmp_path / "tiny" / "5"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert sorted(path.name for path in result.path.parent.iterdir()) == ["4", "5"]
    assert [row.equal for row in result.verification.comparisons] == [1.0] * 4
    assert all(row.difference < 1e-5 for row in result.verification.comparisons)  # of probabilities


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "saved_model"])
def test_files_hold_float32_only(format, export_it, predictor, tmp_path):
    rounded = Predictor(predictor.model, EvaluationConfig(precision="mixed_float16"))
    says = f"^--format={format} holds float32 numbers: leave evaluation.precision=mixed_float16 out$"
    with pytest.raises(UserError, match=says):
        export_it(format, tmp_path / "export", by=rounded)
    assert not (tmp_path / "export").exists()


def test_a_saved_model_in_16_bits_says_what_the_predictor_says_in_them(export_it, predictor, tmp_path):
    rounded = Predictor(predictor.model, EvaluationConfig(precision="mixed_bfloat16"))
    result = export_it("saved_model", tmp_path, by=rounded)
    assert len(result.verification.comparisons) == 4  # and it was kept


def test_a_saved_model_of_the_same_labels_and_other_confidences_is_noticed(pointwise, make_picture, tmp_path):
    sure, classes = pointwise(5), numbered_classes(5)
    unsure = Predictor(keras.Model(sure.model.inputs, {"fine": sure.model.output["fine"] / 2}))
    scenes = [Picture("noise", make_picture(20, 30), None)]
    write_saved_model(sure, tmp_path, "sure", classes, ExportConfig(), [scenes[0].image])
    (row,) = verify_saved_model(tmp_path, "sure", sure, scenes).comparisons
    assert (row.equal, row.difference <= CONFIDENCE_STEP) == (1.0, True)
    with pytest.raises(UserError, match=r"100\.000 % of its labels are equal.*values of up to"):
        verify_saved_model(tmp_path, "sure", unsure, scenes)


def test_what_says_something_else_is_not_kept(export_it, exported, stranger, tmp_path, monkeypatch):
    """The files are those of one model, the predictor is another."""
    good = export_it("keras", tmp_path)
    content, files = good.path.read_bytes(), files_in(tmp_path)
    writes = FORMATS["keras"]._replace(write=lambda _, file, __: shutil.copy(good.path, file))
    monkeypatch.setitem(FORMATS, "keras", writes)
    monkeypatch.setattr(
        export_module, "write_saved_model", lambda _, path, *__: shutil.copytree(exported, path, dirs_exist_ok=True)
    )
    with pytest.raises(UserError, match=r"tiny\.keras was not kept.*\(64×128\).*of its labels are equal.*differ by"):
        export_it("keras", tmp_path, by=stranger)
    for by in (stranger, Predictor(stranger.model, EvaluationConfig(precision="mixed_bfloat16"))):
        with pytest.raises(UserError, match="tiny was not kept"):
            export_it("saved_model", tmp_path, by=by)
    assert files_in(tmp_path) == files
    assert good.path.read_bytes() == content


def test_numbers_that_are_no_numbers_are_not_kept(predictor, samples, tmp_path):
    broken = keras.models.clone_model(predictor.model)
    broken.set_weights([np.full_like(weight, np.nan) for weight in predictor.model.get_weights()])
    broken.save(tmp_path / "tiny.keras")
    with pytest.raises(UserError, match="variables are not finite"):
        verify_file("keras", tmp_path / "tiny.keras", predictor, list(read_scenes(samples, CITYSCAPES, 10**6)))


@pytest.fixture(scope="module")
def exploded(predictor):
    """A predictor all of whose logits are nan; a file of it says the same."""
    model = keras.models.clone_model(predictor.model)
    model.set_weights([np.full_like(weight, np.nan) for weight in predictor.model.get_weights()])
    return Predictor(model)


def test_int8_that_is_not_finite_is_not_kept(exploded, stranger, samples, tmp_path):
    (scene,) = (scene._replace(label=None) for scene in read_scenes(samples[:1], CITYSCAPES, 10**6))
    write_litert(stranger, tmp_path / "tiny_int8.tflite", [scene.image])
    with pytest.raises(UserError, match=r"tiny_int8.tflite was not kept: the Keras model itself gives numbers that"):
        verify_int8(tmp_path / "tiny_int8.tflite", exploded, [scene], [scene], 255)


def test_int8_blames_the_scene_that_is_not_finite(stranger, samples, tmp_path, monkeypatch):
    (scene,) = read_scenes(samples[:1], CITYSCAPES, 10**6)
    write_litert(stranger, tmp_path / "tiny_int8.tflite", [scene.image])
    rows = [Comparison("fine", "1×1", 0.5, 3.0, 9.0), Comparison("broken", "1×1", 0.5, math.nan, 9.0)]
    monkeypatch.setattr(verification, "_compare", lambda *_: rows)
    with pytest.raises(UserError, match=r"on broken \(1×1\).* differ by nan"):
        verify_int8(tmp_path / "tiny_int8.tflite", stranger, [scene], [], 255)


@pytest.mark.parametrize(
    ("difference", "largest"),
    [(math.inf, math.inf), (0.0, math.inf), (0.0, math.nan), (math.nan, 1.0)],
)
def test_no_comparison_with_a_number_that_is_not_finite_is_good(difference, largest):
    row = Comparison("street", "1×1", 1.0, difference, largest)
    assert not row.is_within(1.0, 1e-3)
    assert not row.is_within(0.0, math.inf)


@pytest.mark.parametrize("format", ["keras", "saved_model"])
def test_a_full_disk_names_the_folder_that_was_asked_for(format, export_it, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / ".tiny.x/whole/file"))

    monkeypatch.setitem(FORMATS, "keras", FORMATS["keras"]._replace(write=full))
    monkeypatch.setattr(export_module, "write_saved_model", full)
    with pytest.raises(UserError) as error:
        export_it(format, tmp_path)
    assert str(error.value) == f"cannot write the export to {tmp_path}: No space left on device"


@pytest.mark.parametrize("format", ["keras", "litert"])
def test_a_model_that_is_not_finite_is_not_exported_and_leaves_nothing(format, exploded, export_it, tmp_path):
    (tmp_path / "tiny.keras").write_text("of an earlier export")
    with pytest.raises(UserError, match="are not finite"):
        export_it(format, tmp_path, by=exploded)
    assert files_in(tmp_path) == ["tiny.keras"]


def test_masks_of_ignored_pixels_measure_nothing(predictor, make_picture, tmp_path):
    image = make_picture(33, 40)
    write_litert(predictor, tmp_path / "tiny_int8.tflite", [image])
    scene = Picture("street", image, np.full((33, 40), 255, np.uint8))
    assert verify_int8(tmp_path / "tiny_int8.tflite", predictor, [scene], [scene], 255).miou is None


def test_int8_is_measured_against_the_masks(export_it, data, samples, tmp_path):
    calibration = data.list_samples("train")
    result = export_it("litert", tmp_path, quantize="int8", calibration=calibration)
    assert result.path.name == "tiny_int8.tflite"
    assert "mIoU over 2 scenes: Keras model" in result.table()
    unlabelled = [sample._replace(label=None) for sample in samples]
    result = export_it("litert", tmp_path, quantize="int8", calibration=calibration, samples=unlabelled)
    assert "mIoU" not in result.table()


def test_int8_that_lost_too_much_is_not_kept(predictor, stranger, make_picture, tmp_path):
    image = make_picture(33, 40)
    write_litert(stranger, tmp_path / "tiny_int8.tflite", [image])
    scene = Picture("street", image, predictor(image))
    with pytest.raises(UserError, match=r"tiny_int8\.tflite was not kept: int8 lowers mIoU over 1 scenes from 100\.00"):
        verify_int8(tmp_path / "tiny_int8.tflite", predictor, [scene], [scene], 255)


def test_large_scenes_are_cropped(samples):
    for limit in (1, 1000, 64 * 128):
        for scene in read_scenes(samples, CITYSCAPES, limit):
            assert 0 < scene.label.size <= limit and scene.image.shape[:2] == scene.label.shape
    assert scene.size == (64, 128)


def test_requests_that_make_no_sense(export_it, samples, tmp_path):
    with pytest.raises(UserError, match="--quantize=int8 is for --format=litert, not for onnx"):
        export_it("onnx", tmp_path, quantize="int8", calibration=samples)
    with pytest.raises(UserError, match="some to calibrate on"):
        export_it("litert", tmp_path, quantize="int8")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the export to .*file"):
        export_it("keras", tmp_path / "file")
