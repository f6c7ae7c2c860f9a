"""ACF on SegFormer-B0 (Xie et al., NeurIPS 2021), trained as SegFormer is, but for its warm-up.

COMMAND  python main.py --mode=train --experiment=acf_segformer
RESULT   none published.
SMALL    python main.py --mode=train --experiment=acf_segformer_small
"""

from acfnet_tf.config import Experiment, ModelConfig, TrainConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_segformer",
        model=ModelConfig(
            weights="auto",
            backbone="segformer_b0",
            context=None,
            class_feature="acf_sum",
            channels=256,
            output_stride=32,
        ),
        train=TrainConfig(
            optimizer="adamw", learning_rate=6e-5, weight_decay=0.01, poly_power=1.0, head_lr_multiplier=10.0
        ),
    )
