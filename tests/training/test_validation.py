"""Workers that share an evaluation all get what one alone would have counted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.reports.boundary import near_boundaries
from acfnet_tf.training.validation import evaluate_shared
from acfnet_tf.training.workers import Workers

CLASSES = numbered_classes(3)


class FirstChannel:
    """Stands in for a predictor."""

    heads, num_classes = ("fine", "coarse"), 3

    def labels(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return {"fine": image[..., 0], "coarse": image[..., 1]}


class Threads(Workers):
    """Workers that are threads of this process."""

    def __init__(self, index: int, count: int, exchange: list, barrier: threading.Barrier) -> None:
        super().__init__(None, [f"thread:{number}" for number in range(count)], index)
        self.exchange, self.barrier = exchange, barrier

    def sum(self, values: np.ndarray) -> np.ndarray:
        self.exchange[self.index] = values
        self.barrier.wait(60)
        total = np.sum(self.exchange, axis=0)
        self.barrier.wait(60)
        return total


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    samples = []
    for name in "abcde":
        sample = Sample(name, str(folder / f"{name}.png"), str(folder / f"{name}_mask.png"))
        Image.fromarray(rng.integers(0, 3, (7, 9, 3), np.uint8)).save(sample.image)
        Image.fromarray(rng.integers(0, 3, (7, 9), np.uint8)).save(sample.label)
        samples.append(sample)
    return samples


def evaluated_by(count: int, samples: list[Sample], stop=lambda index: False) -> list[Evaluation | None]:
    exchange, barrier = [None] * count, threading.Barrier(count)

    def work(index: int) -> Evaluation | None:
        workers = Threads(index, count, exchange, barrier)
        counts = near_boundaries((1, 2))
        return evaluate_shared(workers, FirstChannel(), samples, CLASSES, counts, stop=lambda: stop(index))

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


@pytest.mark.parametrize("count", [2, 3, 7])  # the last one: more workers than images
def test_shared_counts_are_those_of_one_alone(samples, count):
    alone = evaluate_shared(Workers(None), FirstChannel(), samples, CLASSES, near_boundaries((1, 2)))
    assert alone.images["fine"][..., 1].sum(axis=1).tolist() == [7 * 9] * 5
    for shared in evaluated_by(count, samples):
        for head in FirstChannel.heads:
            np.testing.assert_array_equal(shared.matrices[head].counts, alone.matrices[head].counts)
            np.testing.assert_array_equal(shared.others[head].counts, alone.others[head].counts)
            np.testing.assert_array_equal(shared.images[head], alone.images[head])
        np.testing.assert_array_equal(shared.sizes, alone.sizes)


def test_nobody_has_a_result_where_one_was_stopped(samples):
    assert evaluated_by(2, samples, stop=lambda index: index == 1) == [None, None]
