"""Table 1, ResNet-101 + class center.

COMMAND  python main.py --mode=train --experiment=class_center
RESULT   published: mIoU 76.42 (coarse) / 77.94 (fine), Cityscapes val, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=class_center_small
"""

from acfnet_tf.config import Experiment, ModelConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="class_center",
        model=ModelConfig(weights="auto", context=None, class_feature="class_center"),
    )
