"""Networks of Keras made fit for segmentation: dilated, symmetric, synchronised, without randomness."""

from __future__ import annotations

import re
from typing import Any, NoReturn, get_args

import keras

from acfnet_tf.backbones.backbone import Backbone
from acfnet_tf.config import OutputStride
from acfnet_tf.layers.conv import Conv2D
from acfnet_tf.layers.depthwise import DepthwiseConv2D
from acfnet_tf.layers.norm import SyncBatchNorm
from acfnet_tf.layers.resize import Grid, ResizeLike

LEFT_OUT = (
    *("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise", "DropPath"),
    "UpSampling2D",  # Whatever joins its output with a finer map resizes it.
)
MOVING = ("Cropping2D", "CenterCrop", "Resizing", "Resize", "Pad", "Conv2DTranspose")
"""Layers and operations behind which features stand elsewhere; slices are looked at."""
CONVOLUTIONS = {keras.layers.Conv2D: Conv2D, keras.layers.DepthwiseConv2D: DepthwiseConv2D}
POOLING = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
GLOBAL_POOLING = (keras.layers.GlobalMaxPooling2D, keras.layers.GlobalAveragePooling2D)


def make_dilated(
    model: keras.Model, images: keras.KerasTensor, output_stride: OutputStride, copy_weights: bool = False
) -> Backbone:
    """Traces a network again, layer by layer, with new layers of the same names that suit this package.

    - Convolutions are padded symmetrically and take any size. Beyond `output_stride` they are dilated instead of
      strided. The trade is exact but for squeeze-and-excitation, whose means are then over a finer grid.
    - BatchNorm is `SyncBatchNorm` of the same epsilon. Dropout and stochastic depth are left out.
    - Upsampling is left out too; where maps of different strides meet, they are resized to the finest.
    - Layers follow the dtype policy in force, except those whose policy differs from their network's.

    Args:
        model: functional, with one image as input, and one or several maps as output. It is not changed.
        images: (B, H, W, 3), normalised as the network's weights ask for. Any H and W from 1 on.
        output_stride: of the features, at most.
        copy_weights: the new layers have the values of the network's, instead of random ones.

    Returns:
        The output of the network, (B, h, w, C), and what its first layer of the coarsest stride is given,
        (B, h', w', C'). Of several outputs, the last one (a dict's in the order of its keys) and the one before it.
        Weights keep their order within a layer.

    Raises:
        ValueError: an output stride that is no choice, another kind of model, or a layer that cannot be made fit.
    """
    if output_stride not in get_args(OutputStride):
        raise ValueError(f"output_stride must be 8, 16 or 32, not {output_stride!r}")
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"{model.name} cannot be traced: a backbone is a functional model with one input")
    trace = _Trace(model, images, output_stride)
    maps = keras.tree.flatten(trace.run(model, images))
    if not trace.steps:
        raise ValueError(f"{model.name} has no strides")
    last, next_to_last = maps[-1], maps[-2] if len(maps) > 1 else trace.steps[max(trace.steps)]
    for each in (last, next_to_last):
        if not trace.strides[each]:
            raise ValueError(f"{model.name} gives no map, but {each.shape}")
    with_weights = {layer: copy for layer, (_, copy) in trace.copies.items() if getattr(copy, "weights", None)}
    if copy_weights:
        for layer, copy in with_weights.items():
            copy.set_weights(layer.get_weights())
    names = frozenset(copy.name for copy in with_weights.values())
    return Backbone(last, next_to_last, names, trace.grid(last), trace.grid(next_to_last))


class _Trace:
    """A walk through a network. It knows which stride every tensor has in the original, and its `Grid` here.

    The dilation in force follows: where the original stride is 32 and the output stride 8, it is 4.
    """

    def __init__(self, model: keras.Model, images: keras.KerasTensor, output_stride: int) -> None:
        self.network, self.policy, self.output_stride = model.name, model.dtype_policy, output_stride
        # The stride in the original; None of what is no map any more.
        self.strides: dict[keras.KerasTensor, int | None] = {images: 1}
        # The offset of each map's grid.
        self.offsets: dict[keras.KerasTensor, float] = {images: 0.0}
        # For each original stride, the input of the first layer that leads to it.
        self.steps: dict[int, keras.KerasTensor] = {}
        # For each map that has been padded, the map without its border, and the border.
        self.borders: dict[keras.KerasTensor, tuple[keras.KerasTensor, tuple]] = {}
        # For each layer of the original, what the copy does otherwise, and the copy.
        self.copies: dict[keras.Operation, tuple[dict[str, Any], keras.Operation]] = {}

    def run(self, model: keras.Model, inputs: Any) -> Any:
        """The outputs of a functional or sequential model, in their structure."""
        # Keras returns a clone, but not its outputs on our inputs: markers behind them catch these.
        markers = [keras.layers.Identity() for _ in model.outputs]
        marked = keras.Model(model.inputs, [mark(output) for mark, output in zip(markers, model.outputs, strict=True)])
        caught = {}

        def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
            if layer in markers:
                caught[layer] = args[0]
                return args[0]
            return self.call(layer, *args, **kwargs)

        keras.models.clone_model(
            marked,
            input_tensors=keras.tree.pack_sequence_as(marked.input, keras.tree.flatten(inputs)),
            clone_function=lambda layer: layer,
            call_function=call,
        )
        return keras.tree.pack_sequence_as(model.output, [caught[mark] for mark in markers])

    def call(self, layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """The outputs of the copy of `layer`."""
        if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            return self.run(layer, args[0])
        if type(layer).__name__ in LEFT_OUT:
            return args[0]
        for kind, ours in CONVOLUTIONS.items():
            if isinstance(layer, kind):
                return self.convolution(layer, ours, args[0])
        if isinstance(layer, POOLING):
            return self.pooling(layer, args[0])
        if isinstance(layer, keras.layers.ZeroPadding2D):
            padded = self.result(args[0], self.copy(layer)(args[0]))
            self.borders[padded] = args[0], layer.padding
            return padded
        return self.other(layer, *args, **kwargs)

    def convolution(self, layer: keras.layers.Layer, kind: type, x: keras.KerasTensor) -> keras.KerasTensor:
        uneven = any(len(set(sizes)) > 1 for sizes in (layer.kernel_size, layer.strides, layer.dilation_rate))
        if uneven or layer.kernel_size[0] % 2 == 0:
            self.refuse(layer, "needs an odd, square kernel, and the same strides and rate for height and width")
        rate, reach = layer.dilation_rate[0], layer.kernel_size[0] - 1
        x = self.unpadded(layer, x, reach * rate)
        changes = {"strides": self.applied(layer, x), "dilation_rate": rate * self.rate(x) if reach else 1}
        return self.result(x, self.copy(layer, kind, ("padding",), **changes)(x), layer.strides[0])

    def pooling(self, layer: keras.layers.Layer, x: keras.KerasTensor) -> keras.KerasTensor:
        size, stride = layer.pool_size[0], layer.strides[0]
        if len(set(layer.pool_size)) > 1 or len(set(layer.strides)) > 1:
            self.refuse(layer, "needs a square window, and the same strides for height and width")
        if size == 1 and x not in self.borders:  # It is nothing but a stride.
            return self.result(x, self.copy(layer, strides=self.applied(layer, x))(x), stride)
        if self.applied(layer, x) != stride or self.rate(x) > 1:
            self.refuse(layer, "cannot be dilated: --set model.output_stride=32")
        if x in self.borders:
            before = {sides[0] for sides in self.borders[x][1]}
            if len(before) > 1 or layer.padding == "same":
                self.refuse(layer, "is padded, or not by the same border above and at the left")
            shift = (size - 1) / 2 - before.pop()
            return self.result(self.unpadded(layer, x, size - 1), self.copy(layer)(x), stride, shift)
        if size % 2 and layer.padding == "same":  # It is symmetric only without strides.
            dense = self.copy(layer, strides=1)(x)
            return self.result(x, keras.layers.MaxPooling2D(1, stride, name=f"{layer.name}_stride")(dense), stride)
        if size != stride:
            self.refuse(layer, "has windows that are not padded")
        # One pixel is to be one. "same" pads behind the last pixel, if at all, for windows of 2 only.
        if size > 2:
            x, unpadded = keras.layers.ZeroPadding2D(((0, size - 1), (0, size - 1)), name=f"{layer.name}_pad")(x), x
            return self.result(unpadded, self.copy(layer, padding="valid")(x), stride, (size - 1) / 2)
        return self.result(x, self.copy(layer, padding="same")(x), stride, 0.5)

    def other(self, layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """A layer or operation of any kind that has no strides, on maps of one size."""
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        maps = [x for x in tensors if self.strides[x]]
        if any(x in self.borders for x in tensors):
            self.refuse(layer, "is behind a ZeroPadding2D, which may only be in front of convolutions and pooling")
        if _extent(layer, "strides") > 1:
            self.refuse(layer, "has strides, and is no layer that can do without")
        if any(self.rate(x) > 1 for x in maps) and max(_extent(layer, "kernel_size"), _extent(layer, "pool_size")) > 1:
            self.refuse(layer, "cannot be dilated: --set model.output_stride=32")
        if type(layer).__name__ in MOVING or _cuts_off(layer, args):
            self.refuse(layer, "moves features to other places of the image")
        args, kwargs = self.resized(layer, maps, (args, kwargs))
        norm = isinstance(layer, keras.layers.BatchNormalization)
        copy = self.copy(layer, SyncBatchNorm, ("momentum", "synchronized")) if norm else self.copy(layer)
        outputs = copy(*args, **kwargs)
        if any("seed_generator" in variable.path for variable in getattr(copy, "variables", ())):
            self.refuse(layer, "is random")
        stride = min((self.strides[x] for x in maps), default=None)
        # Maps that stand half a stride apart, as of a pooling and a convolution, meet in the middle.
        offsets = [self.offsets[x] for x in maps if self.strides[x] == stride]
        for output in keras.tree.flatten(outputs):
            is_map = len(output.shape) == 4 and not isinstance(layer, GLOBAL_POOLING)
            self.strides[output] = stride if is_map else None
            if stride and is_map:
                self.offsets[output] = sum(offsets) / len(offsets) + _shift(layer) * self.reached(stride)
        return outputs

    def resized(self, layer: keras.Operation, maps: list[keras.KerasTensor], arguments: Any) -> Any:
        """Call arguments whose maps have the size of the finest."""
        if len({self.reached(self.strides[x]) for x in maps}) <= 1:
            return arguments
        finest = min(maps, key=self.strides.get)
        sizes = {
            x: ResizeLike(*self.grid(x).within(self.grid(finest)), name=f"{layer.name}_resize_{i}")(x, finest)
            for i, x in enumerate(maps)
            if self.strides[x] > self.strides[finest]
        }
        return keras.tree.map_structure(lambda x: sizes.get(x, x) if isinstance(x, keras.KerasTensor) else x, arguments)

    def copy(
        self, layer: keras.Operation, kind: type | None = None, drop: tuple[str, ...] = (), **changes: Any
    ) -> keras.Operation:
        """A new layer by the config of `layer`, of another kind where given; the same one at every use of `layer`."""
        known, copy = self.copies.get(layer, (changes, None))
        if known != changes:
            self.refuse(layer, "is used at several strides")
        if copy is None:
            config = {key: value for key, value in layer.get_config().items() if key not in drop} | changes
            if isinstance(layer, keras.layers.Layer):
                if layer.dtype_policy == self.policy:
                    config.pop("dtype", None)
                if not layer.weights and _is_counted(layer):
                    config["name"] = f"{type(layer).__name__.lower()}_of_{self.network}_{len(self.copies)}"
            copy = (kind or type(layer)).from_config(config)
            self.copies[layer] = changes, copy
        return copy

    def unpadded(self, layer: keras.layers.Layer, x: keras.KerasTensor, reach: int) -> keras.KerasTensor:
        """`x` without the border that the original needs: `reach` pixels on both sides together if it is symmetric."""
        x, border = self.borders.get(x, (x, ((0, 0), (0, 0))))
        # On even sizes, originals pad one pixel less.
        wanted = {0} if layer.padding == "same" else {reach, max(reach - 1, 0)}
        if not {sum(sides) for sides in border} <= wanted:
            self.refuse(layer, f"needs a border of {reach // 2} pixels, not {border}")
        return x

    def result(
        self, x: keras.KerasTensor, output: keras.KerasTensor, stride: int = 1, shift: float = 0.0
    ) -> keras.KerasTensor:
        """`output`, noted as `stride` times as coarse as `x`, its first feature `shift` features of `x` further on."""
        if not (before := self.strides[x]):
            self.strides[output] = None
            return output
        self.strides[output] = before * stride
        self.offsets[output] = self.offsets[x] + shift * self.reached(before)
        if stride > 1:
            self.steps.setdefault(before * stride, x)
        return output

    def grid(self, x: keras.KerasTensor) -> Grid:
        return Grid(self.reached(self.strides[x]), self.offsets[x])

    def reached(self, stride: int) -> int:
        """The stride here of what has that stride in the original."""
        return min(stride, self.output_stride)

    def rate(self, x: keras.KerasTensor) -> int:
        stride = self.strides[x] or 1
        return stride // self.reached(stride)

    def applied(self, layer: keras.layers.Layer, x: keras.KerasTensor) -> int:
        """What is left of a layer's stride."""
        before = self.strides[x] or 1
        left, rest = divmod(self.reached(before * layer.strides[0]), self.reached(before))
        if rest:
            self.refuse(layer, f"has a stride that does not lead to an output stride of {self.output_stride}")
        return left

    def refuse(self, layer: keras.Operation, why: str) -> NoReturn:
        raise ValueError(f"{self.network}: layer {layer.name} ({type(layer).__name__}) {why}")


def _extent(layer: keras.Operation, attribute: str) -> int:
    return max(keras.tree.flatten(getattr(layer, attribute, 1)))


def _shift(layer: keras.Operation) -> float:
    """How many features the middle of a layer's first window lies behind the first feature."""
    reach = (max(_extent(layer, "kernel_size"), _extent(layer, "pool_size")) - 1) * _extent(layer, "dilation_rate")
    return reach / 2 if getattr(layer, "padding", None) == "valid" else reach % 2 / 2


def _cuts_off(layer: keras.Operation, arguments: tuple) -> bool:
    """Whether it is a slice of rows or columns, and not of channels alone."""
    if type(layer).__name__ != "GetItem":
        return False
    key = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
    places = key[1 : key.index(...)] if ... in key else key[1:3]
    return any(place != slice(None) for place in places)


def _is_counted(layer: keras.layers.Layer) -> bool:
    """Whether the name is one that Keras gives, such as "re_lu_5": another one at every making of the network."""
    return re.sub(r"[\d_]", "", layer.name) == re.sub(r"[\d_]", "", type(layer).__name__).lower()
