"""What TensorBoard shows of a validation: the figures that `--mode=visualize` draws of a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.heads import FINE
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.visualization.errors import draw_class_bars, draw_confusion
from acfnet_tf.visualization.figure import Picture, Run, to_array
from acfnet_tf.visualization.results import draw_results

SAMPLES = 4


def validation_pictures(
    name: str, predictor: Predictor, samples: Sequence[Sample], classes: ClassSet, evaluation: Evaluation
) -> Iterator[tuple[str, np.ndarray]]:
    """Results on the first `SAMPLES`, IoU of the classes, and what they were taken for.

    Args:
        name: of the run.
        predictor: as it was validated.
        samples: that were evaluated, with masks.
        evaluation: of them.

    Yields:
        The name and the picture, (H, W, 3) uint8.
    """
    run = Run(name, predictor)
    for sample in samples[:SAMPLES]:
        picture = Picture(sample.name, *load_sample(sample, classes))
        yield f"val/{sample.name}", to_array(draw_results([run], [picture], classes))
    yield "classes/iou", to_array(draw_class_bars(evaluation.matrices, classes))
    yield "classes/confusion", to_array(draw_confusion(evaluation.matrices[FINE], classes))
