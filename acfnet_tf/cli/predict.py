"""Labels images of yours, as PNGs and overlays; or a split, for the Cityscapes test server.

python main.py --mode=predict --experiment=acf_aspp_small --input=FILE_OR_FOLDER
python main.py --mode=predict --experiment=acf_aspp_ob_trainval --split=test --submission

Of each image it writes an index PNG, a colour PNG and an overlay. evaluation.* sets how an image becomes labels:
sliding windows, several scales, flip; docs/inference.md explains them.
"""

from typing import Any

ENVIRONMENT = {"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}


def define_flags(define: Any) -> None:
    define.trained_run()
    define.path("input", help="An image, or a folder of images and its subfolders.")
    define.output("RUN_DIR/predictions, or RUN_DIR/submission_SPLIT")
    define.switch("submission", help="Write files for the Cityscapes test server, of --split.")
    define.data()
    define.runtime()


def run(flags: Any) -> None:
    from acfnet_tf.cli._data import split_samples
    from acfnet_tf.cli._runs import output_folder, trained_model
    from acfnet_tf.errors import UserError
    from acfnet_tf.label_files import predict_files
    from acfnet_tf.reports.submission import archive_of, write_submission

    if bool(flags.input) == flags.submission:
        raise UserError("--mode=predict wants either --input=FILE_OR_FOLDER or --submission with --split")
    experiment, predictor, classes = trained_model(flags, flags.runtime)
    if flags.submission:
        _, samples, split = split_samples(flags, experiment, classes)
        output = output_folder(flags, f"submission_{split}")
        write_submission(predictor, samples, output)
        print(f"Submission: {archive_of(output)} ({len(samples)} images of {split})")
        return
    output = output_folder(flags, "predictions")
    files = predict_files(predictor, flags.input, output, classes.colors, experiment.evaluation.max_pixels)
    print(f"{len(files)} images labelled: NAME.png, NAME_color.png and NAME_overlay.png in {output}")
