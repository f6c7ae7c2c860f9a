"""Table 1, ResNet-101 baseline.

COMMAND  python main.py --mode=train --experiment=resnet101
RESULT   published: mIoU 75.85, Cityscapes val, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=resnet101_small

The only segmentation has weight 1.0 beside the auxiliary 0.4, as in PSPNet: Eq. 4 is for two of them.
"""

from acfnet_tf.config import Experiment, LossConfig, ModelConfig, TrainConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="resnet101",
        model=ModelConfig(weights="auto", context=None, class_feature=None),
        train=TrainConfig(loss=LossConfig(fine_weight=1.0)),
    )
