"""ACF on PSPNet: a dilated ResNet-101 with pyramid pooling (Zhao et al., CVPR 2017).

COMMAND  python main.py --mode=train --experiment=acf_pspnet
RESULT   none published.
SMALL    python main.py --mode=train --experiment=acf_pspnet_small
"""

from acfnet_tf.config import Experiment, ModelConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_pspnet",
        model=ModelConfig(weights="auto", context="psp", class_feature="acf_sum"),
    )
