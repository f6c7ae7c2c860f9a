"""Table 2, ResNet-101 + ASPP baseline.

COMMAND  python main.py --mode=train --experiment=aspp
RESULT   published: mIoU 78.42, Cityscapes val, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=aspp_small

The only segmentation has weight 1.0 beside the auxiliary 0.4, as in PSPNet: Eq. 4 is for two of them.
"""

from acfnet_tf.config import Experiment, LossConfig, ModelConfig, TrainConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="aspp",
        model=ModelConfig(weights="auto", context="aspp", class_feature=None),
        train=TrainConfig(loss=LossConfig(fine_weight=1.0)),
    )
