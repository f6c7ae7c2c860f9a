"""Table 1, ResNet-101 + ACF (concat).

COMMAND  python main.py --mode=train --experiment=acf_concat
RESULT   published: mIoU 76.66 (coarse) / 79.17 (fine), Cityscapes val, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=acf_concat_small
"""

from acfnet_tf.config import Experiment, ModelConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_concat",
        model=ModelConfig(weights="auto", context=None, class_feature="acf_concat"),
    )
