"""What every layer must survive: its config, a saved file, and images of changing size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from tests.oracle import assert_close


def assert_survives_saving(
    layer: keras.layers.Layer, input_shapes: Sequence[tuple], samples: Sequence[Sequence[np.ndarray]], folder: Path
) -> None:
    """`layer` is rebuilt by its config, and a model of it gives the same outputs after saving, size after size.

    Args:
        layer: not yet built.
        input_shapes: of the layer's call arguments, without the batch; None where the size varies.
        samples: for every size one array per call argument. They go through one and the same model.
        folder: for the file.
    """
    assert_config_roundtrip(layer)
    inputs = [keras.Input(shape) for shape in input_shapes]
    model = keras.Model(inputs, layer(*inputs))
    randomize(model)
    path = folder / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert_config_roundtrip(loaded.get_layer(layer.name))
    for sample in samples:
        expected = layer(*map(np.asarray, sample))
        for candidate in (model, loaded):
            assert_close(candidate.predict(list(sample), verbose=0), np.asarray(expected), 1e-5)


def assert_config_roundtrip(layer: keras.layers.Layer) -> None:
    config = layer.get_config()
    twin = type(layer).from_config(config)
    assert twin.get_config() == config


def randomize(model: keras.layers.Layer, seed: int = 0) -> None:
    """Gives every weight a value that matters: also biases, BatchNorm's scales and its statistics."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        shape = variable.shape
        if variable.name in ("moving_variance", "gamma"):
            value = generator.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = generator.normal(0, np.sqrt(1.5 / np.prod(shape[:-1])), shape)
        else:
            value = generator.normal(0, 0.3, shape)
        variable.assign(value.astype(variable.dtype))
