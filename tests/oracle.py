"""The paper's equations in float64 NumPy, step by step in the paper's own order.

Nothing here knows of the cheaper algebra of `acfnet_tf.layers`: F' = conv1x1(F) is computed at every pixel, the map of
Eq. 5 with its N·C' channels and the upsampled class centers exist, and the 1×1 convolutions come after them. Arrays are
channels-last.
"""

from __future__ import annotations

import numpy as np


def conv1x1(features: np.ndarray, kernel: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """(B, H, W, C) × (C, D) → (B, H, W, D), pixel by pixel."""
    features, kernel = np.asarray(features, np.float64), np.asarray(kernel, np.float64)
    outputs = np.einsum("bhwc,cd->bhwd", features, kernel)
    return outputs if bias is None else outputs + np.asarray(bias, np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def class_centers_of_labels(
    features: np.ndarray, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray, classes: int
):
    """Eq. 1: center_i = Σ_j 1[y_j = i] · F'[j] / Σ_j 1[y_j = i]; nan for a class without pixels."""
    reduced = conv1x1(features, kernel, bias)
    centers = np.full((len(reduced), classes, reduced.shape[-1]), np.nan)
    for image in range(len(reduced)):
        for label in range(classes):
            pixels = reduced[image][labels[image] == label]
            if len(pixels):
                centers[image, label] = pixels.mean(axis=0)
    return centers


def class_centers(features: np.ndarray, probabilities: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Eq. 2: center_i = Σ_j P[j,i] · F'[j] / Σ_j P[j,i]; nan for a class whose probability is 0 everywhere."""
    probabilities = np.asarray(probabilities, np.float64)
    reduced = conv1x1(features, kernel, bias)
    centers = np.full((len(reduced), probabilities.shape[-1], reduced.shape[-1]), np.nan)
    for image in range(len(reduced)):
        pixels = reduced[image].reshape(-1, reduced.shape[-1])
        for label in range(probabilities.shape[-1]):
            weights = probabilities[image, ..., label].reshape(-1)
            if weights.sum() > 0:
                centers[image, label] = (weights[:, None] * pixels).sum(axis=0) / weights.sum()
    return centers


def class_attention_sum(
    centers: np.ndarray, probabilities: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Eq. 3: Fa[j] = Σ_i P[j,i] · center_i, then the refining 1×1 convolution."""
    centers, probabilities = np.asarray(centers, np.float64), np.asarray(probabilities, np.float64)
    attended = np.zeros((*probabilities.shape[:3], centers.shape[-1]))
    for label in range(centers.shape[1]):
        attended += probabilities[..., label, None] * centers[:, None, None, label, :]
    return conv1x1(attended, kernel, bias)


def class_attention_concat(
    centers: np.ndarray, probabilities: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Eq. 5: Fa[j] = concat over i of P[j,i] · center_i, of N·C' channels, then the 1×1 convolution."""
    centers, probabilities = np.asarray(centers, np.float64), np.asarray(probabilities, np.float64)
    weighted = [probabilities[..., i, None] * centers[:, None, None, i, :] for i in range(centers.shape[1])]
    return conv1x1(np.concatenate(weighted, axis=-1), kernel, bias)


def class_center_fusion(features: np.ndarray, centers: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Section 4.3.1: the centers as N·C' channels at every pixel, behind the feature map, then the 1×1 convolution."""
    features, centers = np.asarray(features, np.float64), np.asarray(centers, np.float64)
    batch, height, width, _ = features.shape
    upsampled = np.broadcast_to(centers.reshape(batch, 1, 1, -1), (batch, height, width, centers[0].size))
    return conv1x1(np.concatenate([features, upsampled], axis=-1), kernel)


def resize_bilinear(images: np.ndarray, height: int, width: int, stride: float, offset: float = 0.0) -> np.ndarray:
    """Bilinear: output pixel i reads at (i - offset) / stride, the first or last one beyond these."""
    return resize_on_grids(images, (height, stride, offset), (width, stride, offset))


def resize_on_grids(images: np.ndarray, rows: tuple[int, float, float], columns: tuple[int, float, float]):
    """The same with a new size, a stride and an offset for each axis."""
    rows, columns = (_interpolation(n, *new) for n, new in zip(images.shape[1:3], (rows, columns), strict=True))
    return np.einsum("yh,xw,bhwc->byxc", rows, columns, np.asarray(images, np.float64))


def _interpolation(size: int, new_size: int, stride: float, offset: float) -> np.ndarray:
    """(new_size, size) matrix whose rows are the weights of linear interpolation."""
    weights = np.zeros((new_size, size))
    for i in range(new_size):
        position = min(max((i - offset) / stride, 0.0), size - 1.0)
        below = min(int(position), size - 1)
        weights[i, below] += 1 - (position - below)
        weights[i, min(below + 1, size - 1)] += position - below
    return weights


def conv2d(images: np.ndarray, kernel: np.ndarray, strides: int = 1, dilation: int = 1) -> np.ndarray:
    """Convolution padded with dilation · (k - 1) / 2 zeros on every side, one kernel tap after the other."""
    images, kernel = np.asarray(images, np.float64), np.asarray(kernel, np.float64)
    size = kernel.shape[0]
    pad = dilation * (size - 1) // 2
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = -(-images.shape[1] // strides), -(-images.shape[2] // strides)
    outputs = np.zeros((len(images), height, width, kernel.shape[-1]))
    for row in range(size):
        for column in range(size):
            top, left = row * dilation, column * dilation
            seen = padded[:, top : top + (height - 1) * strides + 1 : strides]
            seen = seen[:, :, left : left + (width - 1) * strides + 1 : strides]
            outputs += conv1x1(seen, kernel[row, column])
    return outputs


def batch_norm(inputs: np.ndarray, gamma, beta, mean, variance, epsilon: float) -> np.ndarray:
    """With given statistics, as in inference."""
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in (gamma, beta, mean, variance))
    return (np.asarray(inputs, np.float64) - mean) / np.sqrt(variance + epsilon) * gamma + beta


def random_probabilities(generator: np.random.Generator, shape: tuple, peak: float, absent: int = 0) -> np.ndarray:
    """Softmax of logits of standard deviation `peak`; the last `absent` classes are exactly 0 at every pixel."""
    probabilities = softmax(generator.normal(0, peak, shape))
    if absent:
        probabilities[..., -absent:] = 0
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return probabilities.astype(np.float32)


def assert_close(actual: object, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal to `tolerance` relative to the scale of the expected values, which is at least 1."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
