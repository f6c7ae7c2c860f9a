"""Dynamic loss scaling of float16."""

from __future__ import annotations

import tensorflow as tf

from acfnet_tf.training.loss_scale import LossScale


def test_the_scale_is_halved_on_overflow_and_doubled_after_enough_good_steps():
    loss_scale = LossScale(initial=8.0, growth_steps=3)
    scales = []
    for finite in (True, True, False, True, True, True, True, True, True):
        loss_scale.update(tf.constant(finite))
        scales.append(float(loss_scale.scale.numpy()))
    assert scales == [8, 8, 4, 4, 4, 8, 8, 8, 16]


def test_without_growth_steps_the_scale_stays():
    loss_scale = LossScale(initial=1.0, growth_steps=0)
    for finite in (True, False, True):
        loss_scale.update(tf.constant(finite))
    assert float(loss_scale.scale.numpy()) == 1
