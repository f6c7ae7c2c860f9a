"""Draws figures as PNG and PDF: results, errors, and what class centers do.

python main.py --mode=visualize --experiment=acf_aspp_small --what=results
python main.py --mode=visualize --experiment=acf_aspp_small --what=similarity --pixel=250,120

results: image, truth, coarse, fine. errors: the worst images, confusion matrix. similarity: the paper's Figures 5 and
6. centers and attention: what class centers are, and what each pixel receives of them. docs/visualization.md shows all.
"""

from typing import Any

FIGURES = ("results", "similarity", "centers", "attention", "errors")


def define_flags(define: Any) -> None:
    define.trained_run()
    define.choice("what", default="results", enum_values=FIGURES, help="What to draw.")
    define.path("input", help="An image, a folder of them, or an image of the split by its name; without it the split.")
    define.data()
    define.number("images", help="How many images; each figure has its own default.", lower_bound=1)
    define.texts("pixel", help="similarity, attention: x,y from the upper left corner. May be repeated.")
    define.words("classes", help="attention: the classes whose attention is drawn, by name, separated by commas.")
    define.compare("shown beside")
    define.output("RUN_DIR/figures")
    define.runtime()


def run(flags: Any) -> None:
    from acfnet_tf.cli._data import images_named
    from acfnet_tf.cli._runs import next_command, output_folder, runs_to_show, trained_model
    from acfnet_tf.visualization.visualize import visualize

    experiment, predictor, classes = trained_model(flags, flags.runtime)
    folder = output_folder(flags, "figures")
    samples, classes = images_named(flags, experiment, classes, folder, flags.what)
    files = visualize(
        flags.what,
        runs_to_show(flags, experiment, predictor, classes),
        samples,
        classes,
        folder,
        images=flags.images,
        pixels=flags.pixel,
        class_names=flags.classes,
        max_pixels=experiment.evaluation.max_pixels,
    )
    print(f"Drawn, each as PNG and PDF: {', '.join(map(str, files))}")
    print(f"Next: {next_command('explore', flags)}")
