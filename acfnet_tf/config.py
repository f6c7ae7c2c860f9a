"""The experiment: what to build, on which data, how to train and how to evaluate it.

Plain frozen dataclasses. `override` changes single fields by dotted names, as `--set` does on the command line:
unknown names are answered with the nearest valid ones, values of the wrong type with the expected type.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import pkgutil
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from acfnet_tf.conversion import convert, describe

PAPER_SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""RGB statistics of ImageNet, in 0–255."""


class UserError(Exception):
    """A mistake of the user's: shown as one clear line, without a stack trace, with exit status 1."""


class ConfigError(UserError):
    """An experiment or a setting that does not exist or does not fit."""


@dataclass(frozen=True)
class ModelConfig:
    """Arguments of `acfnet_tf.ACFNet`, see there, and the weights that training begins with.

    `num_classes` none means as many as the data have. `weights` is "none" (random), "imagenet", "auto" ("imagenet", or
    with a warning "none" where it is not to be had), "keras_hub:PRESET", a file, or a run folder;
    `docs/pretrained.md` explains it. The fields of `PRESCRIBED` come with the weights. `initialization` says what the
    weights turned out to be; training writes it.
    """

    num_classes: int | None = None
    backbone: str = "resnet101"
    weights: str = "none"
    context: Literal["aspp", "psp"] | None = "aspp"
    class_feature: Literal["acf_sum", "acf_concat", "class_center"] | None = "acf_sum"
    channels: int = 512
    aspp_rates: tuple[int, ...] = (12, 24, 36)
    output_stride: Literal[8, 16, 32] = 8
    backbone_width: int = 64
    stride_in: Literal["3x3", "1x1"] = "3x3"
    stem: Literal["7x7", "deep_64", "deep_128"] = "7x7"
    conv_bias: bool = False
    batch_norm_epsilon: float = 1e-5
    pixel_mean: tuple[float, float, float] = PIXEL_MEAN
    pixel_std: tuple[float, float, float] = PIXEL_STD
    initialization: str | None = None


PRESCRIBED = ("stride_in", "stem", "conv_bias", "batch_norm_epsilon", "pixel_mean", "pixel_std", "initialization")
"""Fields of `ModelConfig` that pretrained weights bring along."""


@dataclass(frozen=True)
class DataConfig:
    """Which images and classes, and how they are augmented (Section 4.2). `docs/data.md` explains every field.

    Without a data folder, street scenes of `scene_size` are generated; the `scene_*` fields describe them.
    """

    format: Literal["cityscapes", "folder", "ade20k", "voc", "tfds", "tfrecord"] = "cityscapes"
    name: str | None = None
    classes: str | None = None
    masks: Literal["index", "color"] | None = None
    ignore: tuple[int, ...] = (255,)
    image_folder: str = "images"
    mask_folder: str = "masks"
    mask_suffix: str = ""
    image_feature: str | None = None
    mask_feature: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    val_fraction: float = 0.1
    on_bad_file: Literal["stop", "skip"] = "stop"
    crop_size: tuple[int, int] = (769, 769)
    scale_range: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    photometric: bool = False
    rare_class_temperature: float | None = None
    cache: str | None = None
    parallel_calls: int | None = None
    scene_size: tuple[int, int] = (1024, 2048)
    scene_train: int = 64
    scene_val: int = 16
    scene_test: int = 4
    scene_seed: int = 0


@dataclass(frozen=True)
class LossConfig:
    """Eq. 4 and Section 4.4: L = aux_weight·la + coarse_weight·lc + fine_weight·lf."""

    aux_weight: float = 0.4
    coarse_weight: float = 0.6
    fine_weight: float = 0.7
    class_weights: Literal["cityscapes", "inverse_log", "enet", "median_frequency", "none"] | tuple[float, ...] = (
        "cityscapes"
    )
    ohem: bool = False
    ohem_heads: tuple[Literal["aux", "coarse", "fine"], ...] = ("fine",)
    ohem_threshold: float = 0.7
    ohem_min_kept: int = 100_000


@dataclass(frozen=True)
class TrainConfig:
    """Section 4.2. `batch_size` is the global batch, over all replicas. `docs/training.md` explains every field."""

    loss: LossConfig = field(default_factory=LossConfig)
    steps: int = 40_000
    batch_size: int = 8
    micro_batch: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    poly_power: float = 0.9
    head_lr_multiplier: float = 1.0
    clip_norm: float | None = None
    ema_momentum: float | None = None
    max_nonfinite_steps: int = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    rematerialize: bool = False
    xla: bool = False
    strategy: Literal["mirrored", "multi_worker", "one_device"] = "mirrored"
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 500
    validate_every: int = 4_000
    validate_images: int | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """How an image becomes labels: whole image, or sliding window, multi-scale and flip (Section 4.4) on request.

    Evaluation also measures how well segments end where they should, within `boundary_widths` pixels of a boundary.
    Prediction refuses images of more than `max_pixels`, for which there may be no memory.
    """

    mode: Literal["whole", "sliding"] = "whole"
    window: tuple[int, int] = (769, 769)
    window_overlap: float = 1 / 3
    multi_scale: bool = False
    scales: tuple[float, ...] = PAPER_SCALES
    flip: bool = False
    boundary_widths: tuple[int, ...] = (1, 3, 5, 9)
    max_pixels: int = 2**25


@dataclass(frozen=True)
class ExportConfig:
    """What an exported SavedModel accepts and answers. `docs/deployment.md` explains every field.

    How it labels an image is `EvaluationConfig`'s matter: with scales and flips there, they are in the SavedModel too.
    """

    max_pixels: int = 2**23
    coarse: bool = False
    color: bool = False
    probabilities: bool = False


@dataclass(frozen=True)
class ServeConfig:
    """The embedded server. `docs/deployment.md` explains every field."""

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    poll_seconds: float = 2.0
    max_request_mib: int = 64
    max_waiting_mib: int = 512
    max_parallel: int = 1


@dataclass(frozen=True)
class ExploreConfig:
    """The page of `--mode=explore`. `docs/visualization.md` explains every field."""

    host: str = "127.0.0.1"
    port: int = 7860
    max_upload_mib: int = 32
    max_pixels: int = 2**22


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


def experiment_names() -> list[str]:
    """Every experiment by name: the paper's rows, each followed by its small twin."""
    package = importlib.import_module("experiments")
    rows = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [name for row in rows for name in (row, f"{row}_small")]


def load_experiment(name: str, overrides: Iterable[str] = ()) -> Experiment:
    """The experiment of that name, with overrides as on the command line.

    Args:
        name: a module of `experiments/`, with `_small` appended for its small twin.
        overrides: strings "dotted.path=value".

    Raises:
        ConfigError: no such experiment, no such setting, or a value of the wrong type.

    Example:
        >>> load_experiment("acf_aspp", ["train.steps=80000"]).train.steps
        80000
    """
    names = experiment_names()
    if name not in names:
        raise ConfigError(f"no experiment {name!r}. {suggest(name, names)}")
    module = importlib.import_module(f"experiments.{name.removesuffix('_small')}")
    experiment = module.get_experiment()
    return override(small_twin(experiment) if name.endswith("_small") else experiment, overrides)


def small_twin(experiment: Experiment) -> Experiment:
    """The same wiring on a light network and small scenes: trains in minutes on two CPU cores."""
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}_small",
        model=dataclasses.replace(
            experiment.model, channels=64, aspp_rates=(3, 6, 9), **_light_backbone(experiment.model.backbone)
        ),
        data=dataclasses.replace(
            experiment.data,
            crop_size=(193, 193),
            scale_range=(0.75, 1.5),
            scene_size=(256, 512),
            scene_train=1_600,
            scene_val=100,
        ),
        train=dataclasses.replace(
            experiment.train,
            loss=dataclasses.replace(experiment.train.loss, class_weights="inverse_log", ohem_min_kept=30_000),
            steps=2_000,
            learning_rate=0.1 if experiment.train.optimizer == "sgd" else 0.001,
            checkpoint_every=500,
            validate_every=500,
            validate_images=50,
        ),
        evaluation=dataclasses.replace(experiment.evaluation, window=(193, 193)),
    )


def _light_backbone(backbone: str) -> dict[str, Any]:
    """Fields of `ModelConfig` for the light relative of a backbone."""
    if backbone == "efficientnet_lite0":  # is light, and its ImageNet weights are for all of it
        return {}
    if backbone.startswith("resnet"):
        return {"backbone": "resnet18", "backbone_width": 16, "weights": "none"}
    return {"backbone_width": 32, "weights": "none"}


def override(experiment: Experiment, assignments: Iterable[str]) -> Experiment:
    """Applies "dotted.path=value" strings in order.

    Raises:
        ConfigError: not an assignment, no such setting (with the nearest valid names), or a value of the wrong type.
    """
    values = {}
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r} is not of the form key.path=value")
        values[path.strip()] = value.strip()
    return override_fields(experiment, values)


def override_fields(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Like `override`, from a mapping of dotted paths to values (strings or already typed)."""
    known = flatten(dataclasses.asdict(experiment))
    for path, value in values.items():
        if path not in known or path == "name":
            raise ConfigError(f"no setting {path!r}. {suggest(path, [key for key in known if key != 'name'])}")
        experiment = _replace(experiment, path.split("."), value, path)
    return experiment


def differences(old: Experiment, new: Experiment) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, as {dotted path: (old value, new value)}."""
    before, after = flatten(dataclasses.asdict(old)), flatten(dataclasses.asdict(new))
    return {path: (before[path], after[path]) for path in before if before[path] != after[path]}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def suggest(wrong: str, valid: Iterable[str]) -> str:
    """A sentence with the nearest of the valid names, or all of them where none is near."""
    valid = list(valid)
    near = difflib.get_close_matches(wrong, valid, n=3, cutoff=0.5)
    near += [name for name in valid if name.split(".")[-1] == wrong.split(".")[-1] and name not in near]
    return f"Did you mean: {', '.join(near)}?" if near else f"There are: {', '.join(valid)}."


def _replace(node: Any, path: list[str], value: Any, full_path: str) -> Any:
    """A copy of the dataclass in which the field at `path` holds `value`, converted to the field's type."""
    head, *rest = path
    if rest:
        return dataclasses.replace(node, **{head: _replace(getattr(node, head), rest, value, full_path)})
    expected = typing.get_type_hints(type(node))[head]
    try:
        return dataclasses.replace(node, **{head: convert(value, expected)})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{full_path} = {value!r}: expected {describe(expected)}") from error
