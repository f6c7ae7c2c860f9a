"""Shows a page in the browser: drop an image, click a pixel, see what the network sees.

python main.py --mode=explore --experiment=acf_aspp_small --compare=runs/aspp_small

Ctrl-C ends it. explore.* are its settings; docs/visualization.md explains the page.
"""

from typing import Any


def define_flags(define: Any) -> None:
    define.trained_run()
    define.path("input", help="An image or a folder of images to choose from; without it those of the split.")
    define.data()
    define.compare("shown beside", once=True)
    define.runtime()


def run(flags: Any) -> None:
    from acfnet_tf.cli._data import images_named
    from acfnet_tf.cli._runs import run_folder, runs_to_show, trained_model
    from acfnet_tf.data.sample import Sample
    from acfnet_tf.errors import UserError
    from acfnet_tf.files import as_utf_8
    from acfnet_tf.training.run_folder import CONFIG_FILE
    from acfnet_tf.visualization.explore.server import explore

    experiment, predictor, classes = trained_model(flags, flags.runtime)
    samples: list[Sample] = []
    try:
        # Of a model file alone, nobody knows the data.
        if flags.input or flags.data_dir or (run_folder(flags) / CONFIG_FILE).exists():
            samples, classes = images_named(flags, experiment, classes)
    except UserError as error:
        if flags.input or flags.data_dir or flags.split:
            raise
        print(f"No samples to choose from: {error}")  # the page is of use without them
    # Bytes in the names of files that are not UTF-8 have no place in a page.
    samples = [sample._replace(name=as_utf_8(sample.name)) for sample in samples]
    explore(runs_to_show(flags, experiment, predictor, classes), classes, samples, experiment.explore)
