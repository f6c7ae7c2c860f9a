"""ACFNet for semantic segmentation: train, evaluate, predict, draw, export, serve, measure.

Modes, with an example of each:

  train         python main.py --mode=train --experiment=acf_aspp_small
                trains, or continues; without data of yours, on generated street scenes
                python main.py --mode=train --experiment=acf_aspp --cluster=HOST_A:12345,HOST_B:12345 --worker=0
                on several machines; --worker=1 on the second
  evaluate      python main.py --mode=evaluate --experiment=acf_aspp_small --set evaluation.flip=true
                mIoU and IoU of every class over a split, also near boundaries
                python main.py --mode=evaluate --experiment=acf_aspp_small --report --compare=runs/aspp_small
                an HTML page with everything, and the difference to another run
  predict       python main.py --mode=predict --experiment=acf_aspp_small --input=FILE_OR_FOLDER
                index PNG, colour PNG and overlay of every image
                python main.py --mode=predict --experiment=acf_aspp_ob_trainval --split=test --submission
                files for the Cityscapes test server
  check_data    python main.py --mode=check_data --experiment=acf_aspp --data_dir=DIR --set data.format=folder
                what is wrong with your images and masks, before anybody trains; class weights; pictures
  prepare_data  python main.py --mode=prepare_data --experiment=acf_aspp --data_dir=DIR --output=SHARDS
                the data as TFRecord shards, for clusters and object stores
  visualize     python main.py --mode=visualize --experiment=acf_aspp_small --what=results
                figures as PNG and PDF: image, truth, coarse, fine; --what=errors: the worst images, confusion matrix
                python main.py --mode=visualize --experiment=acf_aspp_small --what=similarity --pixel=250,120
                the paper's Figures 5 and 6; --what=centers, --what=attention: what class centers do
  explore       python main.py --mode=explore --experiment=acf_aspp_small --compare=runs/aspp_small
                a page in the browser: drop an image, click a pixel, see what the network sees
  export        python main.py --mode=export --experiment=acf_aspp_small --format=saved_model
                for production, compared with the trained model: saved_model (TF Serving), litert, onnx, openvino, keras
  serve         python main.py --mode=serve --experiment=acf_aspp_small
                the exported SavedModel behind TF Serving's REST and gRPC interfaces, for development
  benchmark     python main.py --mode=benchmark --what=complexity --experiment=acf_aspp --size=769x769
                parameters, multiply-adds and activation memory of each part of the network

Experiments, the rows of the paper's tables (append _small for a light twin that trains in minutes on two CPU cores):

  resnet101  class_center  acf_concat  acf_sum  aspp  acf_aspp  acf_aspp_ob  acf_aspp_ob_trainval

and ACF on other base networks:

  acf_pspnet  acf_mobilenet  acf_segformer  acf_efficientnet_lite

Weights to begin with: --set model.weights=auto (of the experiments above: ImageNet's, if they are to be had), imagenet,
none, keras_hub:PRESET, a .pth, .safetensors, .h5 or .keras file, or a run folder. docs/pretrained.md explains them.

Settings: --set key.path=value, as often as wanted; for example --set train.steps=2000 --set train.batch_size=4. A run
folder's config.json lists them all.

Data: --data_dir=DIR is a Cityscapes folder, the one that holds leftImg8bit and gtFine; without it the environment
variable CITYSCAPES_DATASET counts, and without that street scenes are generated. For your own images and masks say
--set data.format=folder; other formats are ade20k, voc, tfds and tfrecord. docs/data.md explains them.
"""

import contextlib
import os
import runpy
import sys
from collections.abc import Iterator

from absl import app, flags, logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class _Path(flags.ArgumentParser):
    """Paths may begin with "~", as shells leave it in --output=~/labels."""

    def parse(self, argument: str) -> str:
        if not argument:
            raise ValueError("names no file or folder")
        return os.path.expanduser(argument)


def _define_path(name: str, help: str) -> flags.FlagHolder:
    return flags.DEFINE(_Path(), name, None, help, serializer=flags.ArgumentSerializer())


_MODES = ["train", "evaluate", "predict", "visualize", "explore", "check_data", "prepare_data", "export", "serve"]
_MODES += ["benchmark"]
_OF_A_MODEL = ["evaluate", "predict", "visualize", "explore", "export", "serve"]
_WHAT_TO_DRAW = ["results", "similarity", "centers", "attention", "errors"]
_MODE = flags.DEFINE_enum("mode", None, _MODES, "What to do.", required=True)
_EXPERIMENT = flags.DEFINE_string("experiment", None, "Name of the experiment; see above.")
_SET = flags.DEFINE_multi_string("set", [], "Override of one setting, key.path=value; may be repeated.")
_DATA_DIR = _define_path("data_dir", "Folder of the data; see above.")
_RUN_DIR = _define_path("run_dir", "Run folder; runs/EXPERIMENT by default.")
_MODEL = _define_path(
    "model", "A .keras file instead of RUN_DIR/model.keras; serve: the folder of a SavedModel's versions."
)
_SPLIT = flags.DEFINE_string("split", None, "Split of the data; data.val_split by default, all to check or prepare.")
_INPUT = _define_path("input", "predict, visualize, explore, export: an image or a folder of images.")
_OUTPUT = _define_path("output", "Folder for results; in RUN_DIR by default.")
_TO = flags.DEFINE_enum("to", "tfrecord", ["tfrecord"], "prepare_data: the form of the shards.")
_INIT_FROM = _define_path("init_from", "train: short for --set model.weights=RUN_OR_FILE.")
_CLUSTER = flags.DEFINE_list("cluster", [], "train, evaluate: HOST:PORT of all workers; the first is the chief.")
_WORKER = flags.DEFINE_integer("worker", None, "train, evaluate: which of --cluster this process is, from 0.")
_SUBMISSION = flags.DEFINE_bool("submission", False, "predict: write files for the Cityscapes test server.")
_RUNTIME = flags.DEFINE_enum(
    "runtime",
    "tensorflow",
    ["tensorflow", "openvino", "openvino_bfloat16"],
    "evaluate, predict, visualize, explore: what runs the network.",
)
_FORMAT = flags.DEFINE_enum(
    "format", "saved_model", ["saved_model", "litert", "onnx", "openvino", "keras"], "export: the form of the model."
)
_QUANTIZE = flags.DEFINE_enum("quantize", None, ["int8"], "export: whole numbers instead of floats, for litert.")
_WHAT = flags.DEFINE_enum(
    "what",
    None,
    [*_WHAT_TO_DRAW, "complexity"],
    "visualize: what to draw, results by default; benchmark: what to measure.",
)
_PIXEL = flags.DEFINE_multi_string("pixel", [], "visualize: x,y from the upper left corner; may be repeated.")
_CLASSES = flags.DEFINE_list("classes", [], "visualize: the classes whose attention is drawn, by name.")
_COMPARE = flags.DEFINE_multi(
    _Path(),
    flags.ArgumentSerializer(),
    "compare",
    [],
    "evaluate, visualize, explore: another run folder or .keras file, to be shown beside.",
)
_REPORT = flags.DEFINE_bool("report", False, "evaluate: write report.html too.")
_SIZE = flags.DEFINE_string("size", "769x769", "benchmark: HEIGHTxWIDTH of the image.")
_IMAGES = flags.DEFINE_integer("images", None, "visualize, check_data: how many images.", lower_bound=1)


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    if "tensorflow" not in sys.modules:  # which reads it once, for the whole process
        # oneDNN keeps the weights in its own layout: faster, but right only where nobody changes them.
        os.environ["TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"] = str(int(_MODE.value in ("evaluate", "predict")))
    try:
        with _silent_stderr():
            from acfnet_tf import commands
            from acfnet_tf.errors import Stopped, UserError
            from acfnet_tf.request import Request
    except ImportError as error:  # Keras is set to something else, or a package is missing
        sys.exit(f"Error: {error}")

    try:
        if not (_EXPERIMENT.value or (_MODEL.value and _MODE.value in _OF_A_MODEL)):
            other = " or --model=PATH" if _MODE.value in _OF_A_MODEL else ""
            raise UserError(f"--mode={_MODE.value} wants --experiment=NAME{other}; see --help")
        # "--set a=1 b=2" works like "--set a=1 --set b=2".
        request = Request(
            experiment=_EXPERIMENT.value,
            overrides=[*_SET.value, *arguments[1:]],
            data_dir=_DATA_DIR.value,
            run_dir=_RUN_DIR.value,
            model=_MODEL.value,
            split=_SPLIT.value,
            input=_INPUT.value,
            output=_OUTPUT.value,
            submission=_SUBMISSION.value,
            images=_IMAGES.value,
            compare=_COMPARE.value,
            pixels=_PIXEL.value,
            classes=_CLASSES.value,
            report=_REPORT.value,
            init_from=_INIT_FROM.value,
            cluster=_CLUSTER.value,
            worker=_WORKER.value,
            runtime=_RUNTIME.value,
            format=_FORMAT.value,
            quantize=_QUANTIZE.value,
            what=_WHAT.value,
            size=_SIZE.value,
        )
        getattr(commands, _MODE.value)(request)
    except UserError as error:
        sys.exit(f"Error: {error}")
    except Stopped as stopped:
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hides what TensorFlow's libraries report while they load, which no environment variable turns off."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


if __name__ == "__main__":
    console = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "acfnet_tf", "console.py"))
    with console["console"]():
        app.run(main)
