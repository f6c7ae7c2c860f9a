"""What each part of the network costs: parameters, multiply-adds, memory that training keeps."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import tensorflow as tf

from acfnet_tf import heads
from acfnet_tf.backbones.segformer import SEGFORMERS
from acfnet_tf.layers.precision import running
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.tables import markdown_table

BACKBONE = "backbone"
CONTEXT = "context"
REDUCTION = "ACF: channel reduction"
FUSION = "ACF: fusion convolution"
REST_OF_ACF = "ACF: softmax, means, attention, norms"
AUXILIARY = "auxiliary head"
HEADS = "coarse and fine heads"
RESIZING = "resizing of logits"
PARTS = (BACKBONE, CONTEXT, REDUCTION, FUSION, REST_OF_ACF, AUXILIARY, HEADS, RESIZING)

LAYERS = {"normalization": BACKBONE, "aspp": CONTEXT, "psp": CONTEXT, f"{heads.AUX}_conv": AUXILIARY}
LAYERS |= {f"{head}_logits": AUXILIARY if head == heads.AUX else HEADS for head in heads.HEADS}
LAYERS |= {f"{head}_upsampled": RESIZING for head in heads.HEADS}
"""The part to which a layer belongs; those of the ACF module are told apart below, and all others are a base's."""

ALIASES = ("ExpandDims", "Identity", "IdentityN", "Reshape", "Squeeze")
"""Operations whose output is the memory of their input."""


class Part(NamedTuple):
    """A part of the network and what it costs for one image.

    Attributes:
        name: one of `PARTS`.
        parameters: all, including the moving statistics of BatchNorm.
        multiply_adds: of one forward pass.
        activation_bytes: what one training step keeps of the forward pass.
    """

    name: str
    parameters: int
    multiply_adds: int
    activation_bytes: int


def complexity(model: ACFNet, size: tuple[int, int]) -> list[Part]:
    """Counts in the graph that TensorFlow executes, without executing it.

    - *Multiply-adds* are those of convolutions and matrix products, after whatever algebra saves of them; resizing of
      logits is two such products. Elementwise operations are not counted, as usual; inference folds most of them
      (BatchNorm).
    - *Activations* are the tensors of the forward pass that the backward pass reads, each one once, and the
      full-size logits, which the loss reads.

    Args:
        model: of any dtype policy.
        size: height and width of the image.

    Returns:
        The parts that the model has, in the order of `PARTS`.
    """
    forward, kept = _trace_training(model, size)
    from_image = _computed_from_image(forward)
    parameters, multiply_adds, activation_bytes = Counter(), Counter(), Counter()
    for variable in model.weights:
        parameters[_part(model, variable.path.split("/")[:-1], of_weights=True)] += math.prod(variable.shape)
    for operation in forward:
        # A product of centers with a weight is what became of a 1×1 convolution.
        of_weights = not {tensor.ref() for tensor in operation.inputs} <= from_image
        multiply_adds[_part(model, _scopes(operation), of_weights)] += multiply_adds_of(operation)
    for tensor in kept:
        # A fused BatchNorm has an output of unknown rank: scratch space that is empty on a CPU.
        if tensor.ref() in from_image and tensor.dtype.is_floating and tensor.shape.rank is not None:
            part = _part(model, _scopes(tensor.op), of_weights=False)
            activation_bytes[part] += math.prod(tensor.shape) * tensor.dtype.size
    parts = [Part(name, parameters[name], multiply_adds[name], activation_bytes[name]) for name in PARTS]
    return [part for part in parts if any(part[1:])]


def complexity_table(parts: Sequence[Part], size: tuple[int, int]) -> str:
    """The parts and their shares as a Markdown table with a heading, and what ACF adds to its convolutions."""
    total = Part("total", *(sum(column) for column in list(zip(*parts, strict=True))[1:]))
    columns = (("parameters (M)", 1e6, 3), ("multiply-adds (G)", 1e9, 3), ("activations (MiB)", 2**20, 1))
    header = ["part"]
    rows = [[part.name] for part in (*parts, total)]
    for number, (title, unit, digits) in enumerate(columns, start=1):
        header += [title, "%"]
        for row, part in zip(rows, (*parts, total), strict=True):
            row += [f"{part[number] / unit:.{digits}f}", f"{100 * part[number] / total[number]:.2f}"]
    lines = [f"One image of {size[0]}x{size[1]}: forward pass, and what training keeps of it for the backward pass", ""]
    lines += markdown_table(header, rows)
    for part in parts:
        if part.name == REST_OF_ACF:
            share = f"{100 * part.multiply_adds / total.multiply_adds:.2f} % of the multiply-adds"
            lines += ["", f"Beyond its channel reduction and fusion convolution, ACF adds {share}."]
    return "\n".join(lines)


def _trace_training(model: ACFNet, size: tuple[int, int]) -> tuple[list[tf.Operation], list[tf.Tensor]]:
    """The operations of the forward pass in order, and their outputs that are still needed after it."""
    forward: list[tf.Operation] = []

    @tf.function
    def forward_and_backward(images: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = list(model(images, training=True).values())
        forward.extend(images.graph.get_operations())
        return logits, tape.gradient(logits, model.trainable_variables)

    spec = tf.TensorSpec((1, *size, 3), tf.float32, name="images")
    with running("float32"):  # For TF32 some products are split, on some cards: what the network is has one count.
        graph = forward_and_backward.get_concrete_function(spec).graph
    needed = _needed_for(graph.outputs)
    backward = [operation for operation in graph.get_operations()[len(forward) :] if operation in needed]
    read = [tensor for operation in backward for tensor in operation.inputs]
    memory = {_without_aliases(tensor).ref() for tensor in read}  # An Identity reads the results, hence the logits.
    made = {tensor.ref() for operation in forward for tensor in operation.outputs}
    return forward, [reference.deref() for reference in memory & made]


def _needed_for(results: Iterable[tf.Tensor]) -> set[tf.Operation]:
    """All operations that are executed for these results; others, such as gradients of constants, are pruned."""
    needed, waiting = set(), [tensor.op for tensor in results]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting += [*operation.control_inputs, *(tensor.op for tensor in operation.inputs)]
    return needed


def _without_aliases(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in ALIASES:
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


def _computed_from_image(forward: Iterable[tf.Operation]) -> set:
    """References of the tensors that depend on the image: neither weights nor constants."""
    dependent = set()
    for operation in forward:
        if operation.name == "images" or any(tensor.ref() in dependent for tensor in operation.inputs):
            dependent.update(tensor.ref() for tensor in operation.outputs)
    return dependent


def _scopes(operation: tf.Operation) -> list[str]:
    """Names of the layers, from the outermost one within the model; Keras appends a number to each as a scope."""
    return [re.sub(r"_\d+$", "", scope) for scope in operation.name.split("/")[1:-1]]


def _part(model: ACFNet, scopes: Sequence[str], of_weights: bool) -> str:
    """The part to which an operation within these layers, or a variable of theirs, belongs."""
    layer, *inner = scopes or [""]
    if layer == "acf":
        if inner[:1] == ["fusion"]:
            return FUSION
        return REDUCTION if of_weights and inner[:1] in (["class_centers"], ["class_attention"]) else REST_OF_ACF
    if layer in LAYERS:
        return LAYERS[layer]
    return CONTEXT if model.backbone in SEGFORMERS and layer not in model.backbone_layers else BACKBONE


def multiply_adds_of(operation: tf.Operation) -> int:
    """Products that are summed, for each number that comes out, times how many come out."""
    match operation.type:
        case "Conv2D":
            summed = math.prod(operation.inputs[1].shape[:3])
        case "DepthwiseConv2dNative":
            summed = math.prod(operation.inputs[1].shape[:2])
        case "MatMul":
            summed = operation.inputs[0].shape[0 if operation.get_attr("transpose_a") else 1]
        case "BatchMatMulV2" | "BatchMatMulV3":
            summed = operation.inputs[0].shape[-2 if operation.get_attr("adj_x") else -1]
        case "Einsum":
            terms, result = operation.get_attr("equation").decode().split("->")
            sizes = {}
            for term, tensor in zip(terms.split(","), operation.inputs, strict=True):
                sizes.update(zip(term, tensor.shape, strict=True))
            summed = math.prod(size for index, size in sizes.items() if index not in result)
        case _:
            return 0
    return summed * math.prod(operation.outputs[0].shape)
