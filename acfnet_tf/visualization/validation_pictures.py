"""What TensorBoard shows of a validation: the figures that `--mode=visualize` draws of a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.heads import FINE
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.pictures import read_picture
from acfnet_tf.visualization.confusions import draw_class_bars, draw_confusion
from acfnet_tf.visualization.panels import Run, to_array
from acfnet_tf.visualization.segmentations import draw_results

SAMPLES = 4


def validation_pictures(
    name: str, predictor: Predictor, samples: Sequence[Sample], classes: ClassSet, evaluation: Evaluation
) -> Iterator[tuple[str, np.ndarray]]:
    """Results on the first `SAMPLES`, IoU of the classes, and what they were taken for.

    Args:
        name: under which the figures show the network.
        samples: those that were evaluated, with masks.

    Yields:
        The name and the picture, (H, W, 3) uint8.
    """
    run = Run(name, predictor)
    for sample in samples[:SAMPLES]:
        figure = draw_results([run], [read_picture(sample, classes)], classes)
        yield f"val/{sample.name}", to_array(figure)
    yield "classes/iou", to_array(draw_class_bars(evaluation.matrices, classes))
    yield "classes/confusion", to_array(draw_confusion(evaluation.matrices[FINE], classes))
