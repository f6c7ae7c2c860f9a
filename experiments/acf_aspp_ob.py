"""Table 2, ResNet-101 + ASPP + ACF + OB.

COMMAND  python main.py --mode=train --experiment=acf_aspp_ob
RESULT   published: mIoU 80.99, Cityscapes val, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=acf_aspp_ob_small
"""

from acfnet_tf.config import Experiment, LossConfig, ModelConfig, TrainConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_aspp_ob",
        model=ModelConfig(weights="auto", context="aspp", class_feature="acf_sum"),
        train=TrainConfig(loss=LossConfig(ohem=True)),
    )
