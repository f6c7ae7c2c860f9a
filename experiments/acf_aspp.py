r"""Table 2, ResNet-101 + ASPP + ACF.

COMMAND  python main.py --mode=train --experiment=acf_aspp
RESULT   published: mIoU 80.08; 81.46 with multi-scale and flip, Cityscapes val, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=acf_aspp_small

Multi-scale and flip:
         python main.py --mode=evaluate --experiment=acf_aspp \
         --set evaluation.multi_scale=true evaluation.flip=true
"""

from acfnet_tf.config import Experiment, ModelConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_aspp",
        model=ModelConfig(weights="auto", context="aspp", class_feature="acf_sum"),
    )
