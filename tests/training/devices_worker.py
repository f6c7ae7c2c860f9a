"""What two replicas on virtual CPU devices send each other and are sent, in a process of its own; prints a JSON object.

"copied": {device: bytes that it takes over from others while a batch is distributed};
"parts": samples that every device then has;
"runs": {experiment: of one training step
    "sums": {device: numbers of elements of the sums over the replicas, in their order};
    "norms", "weights", "losses": how many BatchNorm layers, trained numbers and losses there are}.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_callbacks

SIZE = (33, 49)


def distributed(batches: Any) -> tuple[Any, Counter[str]]:
    """A batch on the devices, and the bytes that each of them took over for it."""
    copied: Counter[str] = Counter()

    def count(kind: str, inputs: tuple, attributes: tuple, outputs: tuple, *_: object) -> None:
        device = outputs[0].backing_device
        for value in inputs:
            if value.backing_device != device:
                copied[device[-5:]] += value.shape.num_elements() * value.dtype.size

    values = {"image": tf.ones((4, *SIZE, 3)), "label": tf.ones((4, *SIZE), tf.uint8)}
    op_callbacks.add_op_callback(count)
    batch = batches._distribute(values)
    op_callbacks.remove_op_callback(count)
    return batch, copied


def ordered_sums(function: Any) -> dict[str, list[int]]:
    """How many elements the sums of a traced function have, on each device.

    NCCL needs the same order on all of them. What makes it one is that each sum waits for the one before.
    """
    definition = function.graph.as_graph_def()
    inner = [node.op for each in definition.library.function for node in each.node_def]
    assert "CollectiveReduceV2" not in inner
    sums = [operation for operation in function.graph.get_operations() if operation.type == "CollectiveReduceV2"]
    by_device: dict[str, list[tf.Operation]] = {}
    for each in sums:
        before = by_device.setdefault(each.device[-5:], [])
        assert not before or before[-1] in each.control_inputs
        before.append(each)
    return {device: [each.inputs[0].shape.num_elements() for each in some] for device, some in by_device.items()}


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from acfnet_tf.data.cityscapes import CITYSCAPES
    from acfnet_tf.data.order import SampleOrder
    from acfnet_tf.layers.norm import SyncBatchNorm
    from acfnet_tf.losses import head_losses
    from acfnet_tf.models.create import create_model
    from acfnet_tf.training.batches import Batches
    from acfnet_tf.training.optimizer import create_optimizer
    from acfnet_tf.training.step import TrainStep
    from acfnet_tf.training.workers import Workers
    from acfnet_tf.training_data.dataset import training_dataset
    from tests.tiny import tiny_experiment

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    runs = {}
    for name, compiled in (("acf_sum", False), ("acf_aspp_ob", False), ("acf_aspp_ob", True)):
        experiment = tiny_experiment(name)
        batches = Batches([], CITYSCAPES, SampleOrder(1, 0), experiment, Workers(strategy), training_dataset)
        batch, copied = distributed(batches)
        with strategy.scope():
            model = create_model(experiment.model)
            optimizer = create_optimizer(experiment.train, model.head_variables)
            optimizer.build(model.trainable_variables)
        loss = head_losses(experiment.train.loss, model.output)
        step = TrainStep(strategy, model, optimizer, loss, 2, 2)
        step.compile_norms = compiled  # as on GPUs
        runs[f"{name} compiled" if compiled else name] = {
            "sums": ordered_sums(step._step.get_concrete_function(batch)),
            "norms": sum(isinstance(layer, SyncBatchNorm) for layer in model._flatten_layers()),
            "weights": sum(variable.shape.num_elements() for variable in step.variables),
            "losses": 1 + len(model.output),
        }
    parts = [len(part) for part in strategy.experimental_local_results(batch["image"])]
    print(json.dumps({"copied": copied, "parts": parts, "runs": runs}))


if __name__ == "__main__":
    main()
