"""Mix Transformer, the encoder of SegFormer (Xie et al., NeurIPS 2021), for images of any size."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from acfnet_tf.layers.conv import Conv2D


class _Architecture(NamedTuple):
    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]


ARCHITECTURES = {
    "b0": _Architecture((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": _Architecture((64, 128, 320, 512), (2, 2, 2, 2)),
    "b2": _Architecture((64, 128, 320, 512), (3, 4, 6, 3)),
    "b3": _Architecture((64, 128, 320, 512), (3, 4, 18, 3)),
    "b4": _Architecture((64, 128, 320, 512), (3, 8, 27, 3)),
    "b5": _Architecture((64, 128, 320, 512), (3, 6, 40, 3)),
}
ATTENTION_HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
"""Of each of the four stages; see `ReducedAttention`."""


def mix_transformer(images: keras.KerasTensor, name: str, width: int = 64) -> list[keras.KerasTensor]:
    """The four stages of a Mix Transformer, at strides 4, 8, 16 and 32.

    Layers have the names, and their weights the order, of keras_hub's `MiTBackbone`, but all work on maps
    (B, h, w, C) instead of on sequences of a known size. There is no dropout of any kind.

    Args:
        images: (B, H, W, 3), normalised, any H and W from 1 on.
        name: one of `ARCHITECTURES`.
        width: relative to the original's 64.

    Returns:
        The outputs of the four stages, of (B, h, w, channels) each.

    Raises:
        ValueError: a width that the attention heads do not divide.
    """
    architecture = ARCHITECTURES[name]
    x, stages = images, []
    for stage, (channels, heads) in enumerate(zip(architecture.channels, ATTENTION_HEADS, strict=True)):
        if channels * width % (64 * heads):
            raise ValueError(
                f"width {width} gives stage {stage + 1} of Mix Transformer {name} {channels * width / 64:g} channels, "
                f"which its {heads} attention heads do not divide"
            )
        channels = channels * width // 64
        patch, stride = (7, 4) if stage == 0 else (3, 2)
        x = PatchEmbedding(channels, patch, stride, name=f"patch_and_embed_{stage}")(x)
        for block in range(architecture.blocks[stage]):
            x = Encoder(channels, heads, REDUCTIONS[stage], name=f"hierarchical_encoder_{stage}_{block}")(x)
        x = _layer_norm(1e-5, f"encoder_norm_{stage}")(x)
        stages.append(x)
    return stages


@keras.saving.register_keras_serializable("acfnet_tf")
class PatchEmbedding(keras.layers.Layer):
    """Strided convolution, padded symmetrically so that patches overlap, and LayerNorm.

    Args:
        channels: of the output.
        patch_size: odd.
        stride: between patches.

    Call arguments:
        inputs: (B, H, W, C).

    Returns:
        (B, ⌈H / stride⌉, ⌈W / stride⌉, channels).
    """

    def __init__(self, channels: int, patch_size: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels, self.patch_size, self.stride = channels, patch_size, stride
        self.proj = Conv2D(channels, patch_size, strides=stride, dtype=self.dtype_policy, name="proj")
        self.norm = _layer_norm(1e-5, "norm", self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.proj.build(input_shape)
        self.norm.build(self.proj.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.norm(self.proj(inputs))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self.proj.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = {"channels": self.channels, "patch_size": self.patch_size, "stride": self.stride}
        return super().get_config() | config


@keras.saving.register_keras_serializable("acfnet_tf")
class Encoder(keras.layers.Layer):
    """Transformer block of a residual attention and a residual feed-forward network.

    Args:
        channels: of input and output.
        heads, reduction: of the `ReducedAttention`.

    Call arguments:
        inputs: (B, h, w, channels), and so are the outputs.
    """

    def __init__(self, channels: int, heads: int, reduction: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels, self.heads, self.reduction = channels, heads, reduction
        self.norm1 = _layer_norm(1e-6, "norm1", self.dtype_policy)
        self.attn = ReducedAttention(channels, heads, reduction, dtype=self.dtype_policy, name="attn")
        self.norm2 = _layer_norm(1e-6, "norm2", self.dtype_policy)
        self.mlp = MixFeedForward(channels, dtype=self.dtype_policy, name="mlp")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for part in (self.norm1, self.attn, self.norm2, self.mlp):
            part.build(input_shape)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        attended = inputs + self.attn(self.norm1(inputs))
        return attended + self.mlp(self.norm2(attended))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"channels": self.channels, "heads": self.heads, "reduction": self.reduction}
        return super().get_config() | config


@keras.saving.register_keras_serializable("acfnet_tf")
class ReducedAttention(keras.layers.Layer):
    """Self-attention whose keys and values are patches of reduction × reduction positions.

    Patches begin at the first row and column; those that reach beyond the last ones see zeros there.

    Args:
        channels: of input and output.
        heads: a divisor of `channels`.
        reduction: by which height and width of keys and values are divided.

    Call arguments:
        inputs: (B, h, w, channels), and so are the outputs.
    """

    def __init__(self, channels: int, heads: int, reduction: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels, self.heads, self.reduction = channels, heads, reduction
        for name in ("q", "k", "v", "proj"):
            setattr(self, name, dense(channels, name, self.dtype_policy))
        if reduction > 1:
            self.sr = keras.layers.Conv2D(channels, reduction, reduction, dtype=self.dtype_policy, name="sr")
            self.norm = _layer_norm(1e-5, "norm", self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for part in (self.q, self.k, self.v, self.proj, *((self.sr, self.norm) if self.reduction > 1 else ())):
            part.build(input_shape)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        patches = self._patches(inputs) if self.reduction > 1 else inputs
        attended = keras.ops.dot_product_attention(
            self._heads(self.q(inputs)), self._heads(self.k(patches)), self._heads(self.v(patches))
        )
        return self.proj(tf.reshape(attended, tf.shape(inputs)))

    def _patches(self, inputs: tf.Tensor) -> tf.Tensor:
        """(B, h, w, C) → (B, ⌈h / reduction⌉, ⌈w / reduction⌉, C)."""
        beyond = [0, self.reduction - 1]
        return self.norm(self.sr(tf.pad(inputs, [[0, 0], beyond, beyond, [0, 0]])))

    def _heads(self, inputs: tf.Tensor) -> tf.Tensor:
        """(B, h, w, C) → (B, h·w, heads, C / heads)."""
        batch, height, width, _ = tf.unstack(tf.shape(inputs))
        return tf.reshape(inputs, (batch, height * width, self.heads, self.channels // self.heads))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"channels": self.channels, "heads": self.heads, "reduction": self.reduction}
        return super().get_config() | config


@keras.saving.register_keras_serializable("acfnet_tf")
class MixFeedForward(keras.layers.Layer):
    """Two dense layers with four times the channels between them, where a depthwise 3×3 tells positions apart.

    Args:
        channels: of input and output, (B, h, w, channels).
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.fc1 = dense(4 * channels, "fc1", self.dtype_policy)
        self.dwconv = keras.layers.DepthwiseConv2D(3, padding="same", dtype=self.dtype_policy, name="dwconv")
        self.fc2 = dense(channels, "fc2", self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.fc1.build(input_shape)
        expanded = self.fc1.compute_output_shape(input_shape)
        self.dwconv.build(expanded)
        self.fc2.build(expanded)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.fc2(tf.nn.gelu(self.dwconv(self.fc1(inputs)), approximate=True))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels}


def _layer_norm(epsilon: float, name: str, dtype: keras.DTypePolicy | None = None) -> keras.layers.LayerNormalization:
    return keras.layers.LayerNormalization(epsilon=epsilon, dtype=dtype, name=name)


def dense(channels: int, name: str, dtype: keras.DTypePolicy | None = None) -> keras.layers.EinsumDense:
    """Dense layer on maps: a single operation, where that of `keras.layers.Dense` is two dozen."""
    return keras.layers.EinsumDense("bhwc,cd->bhwd", (None, None, channels), bias_axes="d", dtype=dtype, name=name)
