"""Writes the trained model for production, and compares it with the Keras model on real images.

python main.py --mode=export --experiment=acf_aspp_small --format=saved_model

saved_model is for TF Serving; onnx, openvino and litert for other programs, litert also in whole numbers
(--quantize=int8); keras is one file for Keras. docs/deployment.md explains each, and the settings export.*.
"""

from pathlib import Path
from typing import Any

FORMATS = ("saved_model", "litert", "onnx", "openvino", "keras")


def define_flags(define: Any) -> None:
    define.trained_run()
    define.choice("format", default="saved_model", enum_values=FORMATS, help="The form of the model.")
    define.choice("quantize", enum_values=("int8",), help="litert: whole numbers instead of floats.")
    define.path("input", help="An image or a folder of images to compare on; without it those of the split.")
    define.data()
    define.output("RUN_DIR/export")


def run(flags: Any) -> None:
    from acfnet_tf.cli._data import split_samples
    from acfnet_tf.cli._runs import command, output_folder, run_folder, trained_model
    from acfnet_tf.data.sample import Sample
    from acfnet_tf.export.export import export
    from acfnet_tf.inference.predictor import Predictor
    from acfnet_tf.models.loading import load_model
    from acfnet_tf.paths import find_images

    experiment, predictor, classes = trained_model(flags)
    if flags.input:
        samples = calibration = [Sample(file.stem, str(file), None) for file in find_images(Path(flags.input))]
    else:
        source, samples, _ = split_samples(flags, experiment, classes)
        classes = source.classes  # the same ones, and what these masks mean
        calibration = source.list_samples(experiment.data.train_split) if flags.quantize else ()
    if flags.format == "keras":
        predictor = Predictor(load_model(flags.model or run_folder(flags)))  # as it was trained, nothing folded
    result = export(
        predictor,
        flags.format,
        output_folder(flags, "export"),
        experiment.name,
        classes,
        experiment.export,
        samples,
        quantize=flags.quantize,
        calibration=calibration,
    )
    print(f"\n{result.table()}\nExported: {result.path}")
    if flags.format == "saved_model":
        print(f"Next: {command('--mode=serve', f'--model={result.path.parent}')}")
