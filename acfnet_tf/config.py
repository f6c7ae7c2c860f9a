"""The experiment: what to build, on which data, how to train and how to evaluate it.

Frozen dataclasses, each of whose fields knows its type and range. However a value arrives, a wrong one is refused when
the dataclass is made (`acfnet_tf.settings`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Literal

from acfnet_tf.errors import ConfigError
from acfnet_tf.heads import FINE, HEADS, LOSS_WEIGHTS, MAX_CLASSES
from acfnet_tf.settings import Range, Settings, flatten, override_fields

PAPER_SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""RGB statistics of ImageNet, in 0–255."""

Count = Annotated[int, Range(1, 10**9)]
"""Fits TensorFlow's 32-bit whole numbers, and a product of two its 64-bit ones."""
CountOrZero = Annotated[int, Range(0, 10**9)]
Pixels = Annotated[int, Range(1, 2**16)]
"""Of one side of an image, or a part of one."""
Area = Annotated[int, Range(1, 10**12)]
Batch = Annotated[int, Range(1, 2**16)]
Channels = Annotated[int, Range(1, 2**16)]
Mebibytes = Annotated[int, Range(1, 10**6)]
Threads = Annotated[int, Range(1, 1024)]
Port = Annotated[int, Range(0, 65_535)]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(above=0)]
Momentum = Annotated[float, Range(0, below=1)]
Mean = Annotated[float, Range(-(10**6), 10**6)]
Scale = Annotated[float, Range(above=0, most=64)]
"""Times the size of an image, which then still fits 32 bits."""
Scenes = Annotated[int, Range(1, 10**6)]
"""More would be scenes of the next split, see `acfnet_tf.scenes`."""
Text = Annotated[str, Range(1)]
Photometric = Literal[
    "sharpness", "color_degeneration", "brightness", "contrast", "hue", "saturation", "equalization", "auto_contrast"
]
"""Changes of an image's colours, see `acfnet_tf.training_data.photometric`."""

Precision = Literal["float32", "tf32", "mixed_bfloat16", "mixed_float16"]
"""How maps are multiplied: exactly; by GPUs with factors rounded to 11 bits, elsewhere exactly; or maps in 16 bits."""
Context = Literal["aspp", "psp"]
ClassFeature = Literal["acf_sum", "acf_concat", "class_center"]
OutputStride = Literal[8, 16, 32]
StrideIn = Literal["3x3", "1x1"]
Stem = Literal["7x7", "deep_64", "deep_128"]


@dataclass(frozen=True)
class ModelConfig(Settings, path="model"):
    """Arguments of `acfnet_tf.ACFNet`, see there, and the weights that training begins with.

    `num_classes` none means as many as the data have. `weights` is "none" (random), "imagenet", "auto" ("imagenet", or
    with a warning "none" where it is not to be had), "keras_hub:PRESET", a file, or a run folder;
    `docs/pretrained.md` explains it. The fields of `PRESCRIBED` come with the weights. `initialization` says what the
    weights turned out to be; training writes it.
    """

    num_classes: Annotated[int, Range(2, MAX_CLASSES)] | None = None
    backbone: Text = "resnet101"
    weights: Text = "none"
    context: Context | None = "aspp"
    class_feature: ClassFeature | None = "acf_sum"
    channels: Annotated[int, Range(2, 2**16)] = 512
    aspp_rates: tuple[Pixels, ...] = (12, 24, 36)
    output_stride: OutputStride = 8
    backbone_width: Channels = 64
    stride_in: StrideIn = "3x3"
    stem: Stem = "7x7"
    conv_bias: bool = False
    batch_norm_epsilon: Annotated[float, Range(above=0, most=1)] = 1e-5
    pixel_mean: tuple[Mean, Mean, Mean] = PIXEL_MEAN
    pixel_std: tuple[Positive, Positive, Positive] = PIXEL_STD
    initialization: str | None = None


PRESCRIBED = ("stride_in", "stem", "conv_bias", "batch_norm_epsilon", "pixel_mean", "pixel_std", "initialization")
"""Fields of `ModelConfig` that pretrained weights bring along."""


@dataclass(frozen=True)
class DataConfig(Settings, path="data"):
    """Which images and classes, and how they are augmented (Section 4.2). `docs/data.md` explains every field.

    Without a data folder, street scenes of `scene_size` are generated; the `scene_*` fields describe them.
    """

    format: Literal["cityscapes", "folder", "ade20k", "voc", "tfds", "tfrecord"] = "cityscapes"
    name: str | None = None
    classes: str | None = None
    masks: Literal["index", "color"] | None = None
    ignore: tuple[Annotated[int, Range(0, 65_535)], ...] = (255,)
    image_folder: Text = "images"
    mask_folder: Text = "masks"
    mask_suffix: str = ""
    image_feature: str | None = None
    mask_feature: str | None = None
    train_split: Text = "train"
    val_split: Text = "val"
    val_fraction: Annotated[float, Range(0, below=1)] = 0.1
    on_bad_file: Literal["stop", "skip"] = "stop"
    crop_size: tuple[Pixels, Pixels] = (769, 769)
    scale_range: tuple[Scale, Scale] = (0.5, 2.0)
    flip: bool = True
    photometric: bool | tuple[Photometric, ...] = False
    rare_class_temperature: Positive | None = None
    cache: str | None = None
    parallel_calls: Threads | None = None
    scene_size: tuple[Pixels, Pixels] = (1024, 2048)
    scene_train: Scenes = 64
    scene_val: Scenes = 16
    scene_test: Annotated[int, Range(0, 10**6)] = 4
    scene_seed: Annotated[int, Range(-(2**63), 2**63 - 1)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_range[0] > self.scale_range[1]:
            raise self._refusal("scale_range", self.scale_range, "the smaller scale first")


_HeadWeights = dataclasses.make_dataclass(
    "_HeadWeights", [(f"{head}_weight", NotNegative, weight) for head, weight in LOSS_WEIGHTS.items()], frozen=True
)


@dataclass(frozen=True)
class LossConfig(_HeadWeights, Settings, path="train.loss"):
    """Eq. 4 and Section 4.4: L = aux_weight·la + coarse_weight·lc + fine_weight·lf, a field for each of `HEADS`."""

    class_weights: (
        Literal["cityscapes", "inverse_log", "enet", "median_frequency", "none"]
        | Annotated[tuple[NotNegative, ...], Range(1)]
    ) = "cityscapes"
    ohem: bool = False
    ohem_heads: tuple[Literal[HEADS], ...] = (FINE,)
    ohem_threshold: Annotated[float, Range(above=0, most=1)] = 0.7
    ohem_min_kept: CountOrZero = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ohem and not self.ohem_heads:
            raise self._refusal("ohem_heads", self.ohem_heads, "one head at least, as train.loss.ohem is true")

    @property
    def head_weights(self) -> dict[str, float]:
        """Of each head, in the order of the forward pass."""
        return {head: getattr(self, f"{head}_weight") for head in HEADS}


@dataclass(frozen=True)
class TrainConfig(Settings, path="train"):
    """Section 4.2. `batch_size` is the global batch, over all replicas. `docs/training.md` explains every field."""

    loss: LossConfig = field(default_factory=LossConfig)
    steps: Count = 40_000
    batch_size: Batch = 8
    micro_batch: Batch | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: NotNegative = 0.01
    momentum: Momentum = 0.9
    weight_decay: NotNegative = 0.0005
    poly_power: NotNegative = 0.9
    head_lr_multiplier: NotNegative = 1.0
    clip_norm: Positive | None = None
    ema_momentum: Momentum | None = None
    max_nonfinite_steps: CountOrZero = 0
    precision: Precision = "tf32"
    rematerialize: bool = False
    xla: bool | None = None
    deterministic: bool = False
    strategy: Literal["mirrored", "multi_worker", "one_device"] = "mirrored"
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    log_every: Count = 20
    checkpoint_every: Count = 500
    validate_every: Count = 4_000
    validate_images: Count | None = None


@dataclass(frozen=True)
class EvaluationConfig(Settings, path="evaluation"):
    """How an image becomes labels: whole image, or sliding window, multi-scale and flip (Section 4.4) on request.

    Evaluation also measures how well segments end where they should, within `boundary_widths` pixels of a boundary.
    Prediction refuses images of more than `max_pixels`, for which there may be no memory.
    """

    mode: Literal["whole", "sliding"] = "whole"
    window: tuple[Pixels, Pixels] = (769, 769)
    window_overlap: Annotated[float, Range(0, below=1)] = 1 / 3
    multi_scale: bool = False
    scales: Annotated[tuple[Scale, ...], Range(1)] = PAPER_SCALES
    flip: bool = False
    precision: Precision = "tf32"
    boundary_widths: tuple[Pixels, ...] = (1, 3, 5, 9)
    max_pixels: Area = 2**25


@dataclass(frozen=True)
class ExportConfig(Settings, path="export"):
    """What an exported SavedModel accepts and answers. `docs/deployment.md` explains every field.

    How it labels an image is `EvaluationConfig`'s matter: with scales and flips there, they are in the SavedModel too.
    """

    max_pixels: Area = 2**23
    coarse: bool = False
    color: bool = False
    probabilities: bool = False


@dataclass(frozen=True)
class ServeConfig(Settings, path="serve"):
    """The embedded server. `docs/deployment.md` explains every field."""

    host: Text = "127.0.0.1"
    rest_port: Port = 8501
    grpc_port: Port = 8500
    poll_seconds: Annotated[float, Range(0.01, 86_400)] = 2.0
    max_request_mib: Annotated[int, Range(1, 2047)] = 64
    max_waiting_mib: Mebibytes = 512
    max_parallel: Threads = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_waiting_mib < self.max_request_mib:
            one = f"not less than one request may have (serve.max_request_mib = {self.max_request_mib})"
            raise self._refusal("max_waiting_mib", self.max_waiting_mib, one)


@dataclass(frozen=True)
class ExploreConfig(Settings, path="explore"):
    """The page of `--mode=explore`. `docs/visualization.md` explains every field."""

    host: Text = "127.0.0.1"
    port: Port = 7860
    max_upload_mib: Mebibytes = 32
    max_pixels: Area = 2**22


@dataclass(frozen=True)
class Experiment:
    """One training recipe with its evaluation, and how the trained model is exported and served."""

    name: str
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Rebuilds an experiment from `to_json`; every value is checked like an override.

        Raises:
            ConfigError: the text is not JSON, or names a field or value that this version does not know.
        """
        try:
            tree = json.loads(text)
            name = tree.pop("name")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ConfigError(f"not the JSON of an experiment ({error})") from error
        return override_fields(cls(name=name), flatten(tree))
