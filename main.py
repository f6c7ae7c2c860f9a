"""ACFNet for semantic segmentation: train, evaluate, predict, draw.

Modes, with an example of each:

  train         python main.py --mode=train --experiment=acf_aspp_small
                trains, or continues; without data of yours, on generated street scenes
                python main.py --mode=train --experiment=acf_aspp --cluster=HOST_A:12345,HOST_B:12345 --worker=0
                on several machines; --worker=1 on the second
  evaluate      python main.py --mode=evaluate --experiment=acf_aspp_small --set evaluation.flip=true
                mIoU and IoU of every class over a split
  predict       python main.py --mode=predict --experiment=acf_aspp_small --input=FILE_OR_FOLDER
                index PNG, colour PNG and overlay of every image
                python main.py --mode=predict --experiment=acf_aspp_ob_trainval --split=test --submission
                files for the Cityscapes test server
  check_data    python main.py --mode=check_data --experiment=acf_aspp --data_dir=DIR --set data.format=folder
                what is wrong with your images and masks, before anybody trains; class weights; pictures
  prepare_data  python main.py --mode=prepare_data --experiment=acf_aspp --data_dir=DIR --output=SHARDS
                the data as TFRecord shards, for clusters and object stores
  visualize     python main.py --mode=visualize --experiment=acf_aspp_small
                panels (image, truth, coarse, fine) of a split

Experiments, the rows of the paper's tables (append _small for a light twin that trains in minutes on two CPU cores):

  resnet101  class_center  acf_concat  acf_sum  aspp  acf_aspp  acf_aspp_ob  acf_aspp_ob_trainval

Settings: --set key.path=value, as often as wanted; for example --set train.steps=2000 --set train.batch_size=4. A run
folder's config.json lists them all.

Data: --data_dir=DIR is a Cityscapes folder, the one that holds leftImg8bit and gtFine; without it the environment
variable CITYSCAPES_DATASET counts, and without that street scenes are generated. For your own images and masks say
--set data.format=folder; other formats are ade20k, voc, tfds and tfrecord. docs/data.md explains them.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from absl import app, flags, logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_MODES = ["train", "evaluate", "predict", "visualize", "check_data", "prepare_data"]
_MODE = flags.DEFINE_enum("mode", None, _MODES, "What to do.", required=True)
_EXPERIMENT = flags.DEFINE_string("experiment", None, "Name of the experiment; see above.", required=True)
_SET = flags.DEFINE_multi_string("set", [], "Override of one setting, key.path=value; may be repeated.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data; see above.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "Run folder; runs/EXPERIMENT by default.")
_SPLIT = flags.DEFINE_string("split", None, "Split of the data; data.val_split by default, all to check or prepare.")
_INPUT = flags.DEFINE_string("input", None, "predict: an image or a folder of images.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for results; in RUN_DIR by default.")
_TO = flags.DEFINE_enum("to", "tfrecord", ["tfrecord"], "prepare_data: the form of the shards.")
_INIT_FROM = flags.DEFINE_string("init_from", None, "train: run folder or .keras file to take initial weights from.")
_CLUSTER = flags.DEFINE_list("cluster", [], "train, evaluate: HOST:PORT of all workers; the first is the chief.")
_WORKER = flags.DEFINE_integer("worker", None, "train, evaluate: which of --cluster this process is, from 0.")
_SUBMISSION = flags.DEFINE_bool("submission", False, "predict: write files for the Cityscapes test server.")
_IMAGES = flags.DEFINE_integer("images", 8, "visualize, check_data: how many images.", lower_bound=1)


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    with _silent_stderr():
        from acfnet_tf import commands
        from acfnet_tf.config import UserError
        from acfnet_tf.training.interruption import Stopped

    try:
        # "--set a=1 b=2" works like "--set a=1 --set b=2".
        request = commands.Request(
            experiment=_EXPERIMENT.value,
            overrides=[*_SET.value, *arguments[1:]],
            data_dir=_DATA_DIR.value,
            run_dir=_RUN_DIR.value,
            split=_SPLIT.value,
            input=_INPUT.value,
            output=_OUTPUT.value,
            submission=_SUBMISSION.value,
            images=_IMAGES.value,
            init_from=_INIT_FROM.value,
            cluster=_CLUSTER.value,
            worker=_WORKER.value,
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
    app.run(main)
