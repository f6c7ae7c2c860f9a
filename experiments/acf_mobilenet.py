"""ACF on MobileNetV2, for phones: small, fast, and all of it in LiteRT.

COMMAND  python main.py --mode=train --experiment=acf_mobilenet
RESULT   none published.
SMALL    python main.py --mode=train --experiment=acf_mobilenet_small
"""

from acfnet_tf.config import Experiment, ModelConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_mobilenet",
        model=ModelConfig(
            weights="auto",
            backbone="mobilenet_v2",
            context=None,
            class_feature="acf_sum",
            channels=128,
            output_stride=16,
        ),
    )
