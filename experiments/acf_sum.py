"""Table 1, ResNet-101 + ACF (sum).

COMMAND  python main.py --mode=train --experiment=acf_sum
RESULT   published: mIoU 76.56 (coarse) / 79.32 (fine), Cityscapes val, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=acf_sum_small
"""

from acfnet_tf.config import Experiment, ModelConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_sum",
        model=ModelConfig(weights="auto", context=None, class_feature="acf_sum"),
    )
