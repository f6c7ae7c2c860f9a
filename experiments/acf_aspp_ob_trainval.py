r"""Table 3, ACFNet trained on train + val (fine).

COMMAND  python main.py --mode=train --experiment=acf_aspp_ob_trainval
RESULT   published: mIoU 81.85 on the test server, with multi-scale and flip, Cityscapes, ImageNet-pretrained backbone.
SMALL    python main.py --mode=train --experiment=acf_aspp_ob_trainval_small

Submission:
         python main.py --mode=predict --experiment=acf_aspp_ob_trainval --split=test --submission \
         --set evaluation.multi_scale=true evaluation.flip=true
"""

from acfnet_tf.config import DataConfig, Experiment, LossConfig, ModelConfig, TrainConfig


def get_experiment() -> Experiment:
    return Experiment(
        name="acf_aspp_ob_trainval",
        model=ModelConfig(weights="auto", context="aspp", class_feature="acf_sum"),
        data=DataConfig(train_split="trainval"),
        train=TrainConfig(loss=LossConfig(ohem=True)),
    )
