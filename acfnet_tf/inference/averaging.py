"""Sliding windows, scales and flips around one forward pass (Section 4.4).

TensorFlow operations only, so that the same code runs in a graph, for prediction and in an exported SavedModel, and
eagerly around a forward pass of another runtime. The views follow one another in loops: at no time is more than one in
memory beside the sum, and a graph holds the network once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from acfnet_tf.config import EvaluationConfig
from acfnet_tf.inference.windows import coverage, window_starts

Maps = dict[str, tf.Tensor]
"""{head: (B, H, W, N) float32}."""
Forward = Callable[[tf.Tensor], Maps]
"""(B, H, W, 3) float32 → probabilities of some heads."""


def is_plain(evaluation: EvaluationConfig) -> bool:
    """Whether one forward pass over the whole image is all there is to do."""
    return evaluation.mode == "whole" and not evaluation.multi_scale and not evaluation.flip


def average(forward: Forward, images: tf.Tensor, evaluation: EvaluationConfig, classes: Mapping[str, int]) -> Maps:
    """The mean of the probabilities over scales, flips and windows, with equal weight.

    Args:
        forward: gives the heads in `classes`.
        images: (B, H, W, 3) float32.
        classes: {head: N}.
    """
    if is_plain(evaluation):
        return forward(images)
    scales = evaluation.scales if evaluation.multi_scale else (1.0,)
    flips = (False, True) if evaluation.flip else (False,)
    views = [(scale, flip) for scale in scales for flip in flips]
    size = tf.shape(images)[1:3]

    def add_view(view: tf.Tensor, total: Maps) -> tuple[tf.Tensor, Maps]:
        scale, flip = tf.constant([s for s, _ in views], tf.float64)[view], tf.constant([f for _, f in views])[view]
        scaled_size = tf.maximum(tf.cast(tf.round(scale * tf.cast(size, tf.float64)), tf.int32), 1)
        scaled = _flipped(_resized(images, scaled_size), flip)
        maps = _over_windows(forward, scaled, evaluation, classes)
        return view + 1, {head: total[head] + _flipped(_resized(maps[head], size), flip) for head in total}

    total = _repeat(len(views), add_view, _zeros(images, classes))
    return {head: values / len(views) for head, values in total.items()}


def _over_windows(
    forward: Forward, images: tf.Tensor, evaluation: EvaluationConfig, classes: Mapping[str, int]
) -> Maps:
    """Probabilities of one view: in one piece, or the mean over windows."""
    if evaluation.mode == "whole":
        return forward(images)
    height, width = tf.unstack(tf.shape(images)[1:3])
    window_height, window_width = evaluation.window
    tops = window_starts(height, window_height, evaluation.window_overlap)
    lefts = window_starts(width, window_width, evaluation.window_overlap)

    def add_window(window: tf.Tensor, total: Maps) -> tuple[tf.Tensor, Maps]:
        top, left = tops[window // tf.size(lefts)], lefts[window % tf.size(lefts)]
        bottom, right = tf.minimum(top + window_height, height), tf.minimum(left + window_width, width)
        maps = forward(images[:, top:bottom, left:right])
        margins = [[0, 0], [top, height - bottom], [left, width - right], [0, 0]]
        return window + 1, {head: total[head] + tf.pad(maps[head], margins) for head in total}

    total = _repeat(tf.size(tops) * tf.size(lefts), add_window, _zeros(images, classes))
    count = coverage(tops, window_height, height)[:, None] * coverage(lefts, window_width, width)
    return {head: values / count[..., None] for head, values in total.items()}


def _repeat(times: tf.Tensor | int, add: Callable[[tf.Tensor, Maps], tuple[tf.Tensor, Maps]], start: Maps) -> Maps:
    """`add(0, …)`, `add(1, …)`, … one after the other."""
    shapes = {head: tf.TensorShape([None, None, None, values.shape[-1]]) for head, values in start.items()}
    _, total = tf.while_loop(
        lambda index, _: index < times,
        add,
        (tf.constant(0), start),
        shape_invariants=(tf.TensorShape([]), shapes),
        parallel_iterations=1,
    )
    return total


def _zeros(images: tf.Tensor, classes: Mapping[str, int]) -> Maps:
    return {head: tf.zeros(tf.concat([tf.shape(images)[:3], [count]], axis=0)) for head, count in classes.items()}


def _flipped(x: tf.Tensor, flip: tf.Tensor) -> tf.Tensor:
    """(B, H, W, C), from right to left where `flip` says so."""
    return tf.cond(flip, lambda: tf.reverse(x, [2]), lambda: x)


def _resized(x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """(B, H, W, C) to another size: bilinear, half-pixel centers; as it is where the size is right already."""
    channels = x.shape[-1]
    same = tf.reduce_all(tf.shape(x)[1:3] == size)
    x = tf.cond(same, lambda: x, lambda: tf.image.resize(x, size, method="bilinear"))
    return tf.ensure_shape(x, (None, None, None, channels))
