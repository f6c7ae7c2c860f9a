"""Settings: typed, checked, and the same after a walk through JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json
import runpy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf import ACFNet, load_experiment
from acfnet_tf.config import PAPER_SCALES, Experiment, ModelConfig
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.recipes import FOLDER, experiment_names
from acfnet_tf.settings import differences, flatten, override, override_fields, suggest

ROWS = {
    "resnet101": (None, None),
    "class_center": (None, "class_center"),
    "acf_concat": (None, "acf_concat"),
    "acf_sum": (None, "acf_sum"),
    "aspp": ("aspp", None),
    "acf_aspp": ("aspp", "acf_sum"),
    "acf_aspp_ob": ("aspp", "acf_sum"),
    "acf_aspp_ob_trainval": ("aspp", "acf_sum"),
}
OTHER_BASES = ("acf_pspnet", "acf_mobilenet", "acf_segformer", "acf_efficientnet_lite")
plain = Experiment("plain")


def setting(experiment: Experiment, path: str) -> object:
    return flatten(dataclasses.asdict(experiment))[path]


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("train.steps", "80000", 80_000),
        ("train.steps", "80_000", 80_000),
        ("data.scene_seed", "-1", -1),
        ("train.learning_rate", "0.02", 0.02),
        ("train.learning_rate", "1e-3", 0.001),
        ("train.learning_rate", "1", 1.0),
        ("data.flip", "false", False),
        ("data.flip", "True", True),
        ("evaluation.flip", "1", True),
        ("evaluation.multi_scale", "no", False),
        ("data.crop_size", "513,513", (513, 513)),
        ("data.crop_size", "(513, 1025)", (513, 1025)),
        ("data.scale_range", "[0.75, 2]", (0.75, 2.0)),
        ("model.aspp_rates", "3,6", (3, 6)),
        ("model.aspp_rates", "(6,)", (6,)),
        ("evaluation.scales", "1", (1.0,)),
        ("train.loss.ohem_heads", "fine,coarse", ("fine", "coarse")),
        ("train.loss.ohem_heads", "fine, coarse", ("fine", "coarse")),
        ("model.backbone", "resnet50", "resnet50"),
        ("model.stem", "deep_64", "deep_64"),
        ("model.output_stride", "16", 16),
        ("model.context", "none", None),
        ("model.context", "None", None),
        ("model.class_feature", "null", None),
        ("model.class_feature", "acf_concat", "acf_concat"),
        ("train.micro_batch", "2", 2),
        ("train.micro_batch", "none", None),
        ("train.loss.ohem", "yes", True),
        (" train.steps ", " 5 ", 5),
    ],
)
def test_an_override_has_the_type_of_its_setting(path, text, value):
    changed = setting(override(plain, [f"{path}={text}"]), path.strip())
    assert changed == value
    assert type(changed) is type(value)
    if isinstance(value, tuple):
        assert [type(item) for item in changed] == [type(item) for item in value]


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.steps=many", "a whole number from 1 to 1,000,000,000"),
        ("train.steps=1.5", "a whole number from 1 to 1,000,000,000"),
        ("train.steps=", "a whole number from 1 to 1,000,000,000"),
        ("train.learning_rate=fast", "a finite number of at least 0"),
        ("data.flip=maybe", "true or false"),
        ("data.flip=2", "true or false"),
        ("data.crop_size=513", "2 comma-separated values, each a whole number from 1 to 65,536"),
        ("data.crop_size=513,513,3", "2 comma-separated values, each a whole number from 1 to 65,536"),
        ("data.crop_size=,513,,513", "2 comma-separated values, each a whole number from 1 to 65,536"),
        ("model.aspp_rates=3,,6", "a comma-separated list, each a whole number from 1 to 65,536"),
        ("data.crop_size=513x513", "2 comma-separated values, each a whole number from 1 to 65,536"),
        ("data.scale_range=low,high", "2 comma-separated values, each a finite number above 0 and of at most 64"),
        ("model.aspp_rates=3,six", "a comma-separated list, each a whole number from 1 to 65,536"),
        (
            "evaluation.scales=0.5,big",
            "a comma-separated list, each a finite number above 0 and of at most 64, not empty",
        ),
        ("train.loss.ohem_heads=fine,rough", "a comma-separated list, each one of aux, coarse, fine"),
        ("model.output_stride=4", "one of 8, 16, 32"),
        ("model.stem=9x9", "one of 7x7, deep_64, deep_128"),
        ("model.context=crf", "one of aspp, psp or none"),
        ("model.class_feature=acf", "one of acf_sum, acf_concat, class_center or none"),
        ("train.micro_batch=two", "a whole number from 1 to 65,536 or none"),
        ("train.strategy=none", "one of mirrored, multi_worker, one_device"),
    ],
)
def test_a_value_of_the_wrong_type_is_answered_with_the_expected_one(assignment, expected):
    path, _, value = assignment.partition("=")
    with pytest.raises(ConfigError) as refused:
        override(plain, [assignment])
    assert str(refused.value) == f"{path} = {value!r}: expected {expected}"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("train.step", "train.steps"),
        ("train.lerning_rate", "train.learning_rate"),
        ("model.bacbone", "model.backbone"),
        ("steps", "train.steps"),
        ("ohem", "train.loss.ohem"),
        ("loss.ohem_threshold", "train.loss.ohem_threshold"),
        ("evaluation.multiscale", "evaluation.multi_scale"),
        ("train.loss.weights", "train.loss.class_weights"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_nearest(wrong, meant):
    with pytest.raises(ConfigError, match="no setting") as refused:
        override(plain, [f"{wrong}=1"])
    assert f"{wrong!r}" in str(refused.value)
    assert meant in str(refused.value).partition("Did you mean: ")[2]


@pytest.mark.parametrize("path", ["name", "train", "train.loss", "", "train.", "train.steps.more"])
def test_a_group_of_settings_or_the_name_cannot_be_set(path):
    with pytest.raises(ConfigError, match="no setting"):
        override(plain, [f"{path}=1"])


def test_where_nothing_is_near_all_settings_are_named():
    with pytest.raises(ConfigError) as refused:
        override(plain, ["zzzzzzzz=1"])
    listed = str(refused.value).partition("There are: ")[2].rstrip(".").split(", ")
    assert listed == [path for path in flatten(dataclasses.asdict(plain)) if path != "name"]


def test_without_an_equals_sign_it_is_no_assignment():
    with pytest.raises(ConfigError, match=r"key\.path=value"):
        override(plain, ["train.steps"])


def test_the_last_of_several_assignments_holds_and_the_original_is_untouched():
    changed = override(plain, ["train.steps=1", "train.seed=7", "train.steps=2"])
    assert (changed.train.steps, changed.train.seed) == (2, 7)
    assert plain == Experiment("plain")
    assert differences(plain, changed) == {"train.steps": (40_000, 2), "train.seed": (0, 7)}


def test_a_config_error_is_the_user_s():
    assert issubclass(ConfigError, UserError)


VALUES = {
    "model.backbone": st.sampled_from(["resnet18", "resnet152"]),
    "model.context": st.sampled_from(["aspp", None]),
    "model.class_feature": st.sampled_from(["acf_sum", "acf_concat", "class_center", None]),
    "model.aspp_rates": st.lists(st.integers(1, 99), min_size=1, max_size=4).map(tuple),
    "model.output_stride": st.sampled_from([8, 16, 32]),
    "model.conv_bias": st.booleans(),
    "model.batch_norm_epsilon": st.floats(0, 1, exclude_min=True, width=32, allow_subnormal=False),
    "data.crop_size": st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    "data.scale_range": st.tuples(st.floats(0.01, 9), st.floats(0.01, 9)).map(sorted).map(tuple),
    "data.format": st.sampled_from(["folder", "tfds"]),
    "data.ignore": st.lists(st.integers(0, 65_535), max_size=3).map(tuple),
    "data.val_split": st.sampled_from(["val", "train[90%:]"]),
    "data.rare_class_temperature": st.none() | st.floats(1e-3, 10),
    "data.parallel_calls": st.none() | st.integers(1, 64),
    "train.steps": st.integers(1, 10**9),
    "train.learning_rate": st.floats(0, allow_nan=False, allow_infinity=False, width=32, allow_subnormal=False),
    "train.micro_batch": st.none() | st.integers(1, 64),
    "train.loss.ohem": st.booleans(),
    "train.loss.class_weights": st.sampled_from(["cityscapes", "enet", "none"])
    | st.tuples(st.floats(0, 9, width=32, allow_subnormal=False), st.floats(0.5, 9)),
    "train.loss.ohem_heads": st.lists(st.sampled_from(["aux", "coarse", "fine"]), max_size=3).map(tuple),
    "evaluation.scales": st.lists(st.floats(0.1, 4), min_size=1, max_size=6).map(tuple),
}
assignments = st.sampled_from(sorted(VALUES)).flatmap(lambda path: st.tuples(st.just(path), VALUES[path]))


def replace(node, path: str, value: object):
    head, _, rest = path.partition(".")
    return dataclasses.replace(node, **{head: replace(getattr(node, head), rest, value) if rest else value})


@settings(max_examples=150, deadline=None)
@given(assignments)
def test_overriding_with_a_value_s_text_is_replacing_by_the_value(assignment):
    path, value = assignment
    expected = replace(plain, path, value)
    assert override(plain, [f"{path}={value}"]) == expected
    assert override_fields(plain, {path: value}) == expected
    assert Experiment.from_json(expected.to_json()) == expected


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_survives_json(name):
    experiment = load_experiment(name)
    assert experiment.name == name
    again = Experiment.from_json(experiment.to_json())
    assert again == experiment
    assert hash(again) == hash(experiment)
    assert json.loads(experiment.to_json())["name"] == name


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{}", '{"name": "x", "train": {"stepz": 1}}', '{"name": "x", "train": {"steps": 1.5}}'],
)
def test_text_that_is_no_experiment_is_refused(text):
    with pytest.raises(ConfigError):
        Experiment.from_json(text)


def test_the_experiments_are_the_paper_s_rows_and_other_base_networks_with_their_small_twins():
    assert set(experiment_names()) == {name + suffix for name in (*ROWS, *OTHER_BASES) for suffix in ("", "_small")}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_the_paper_s_network_and_training(name):
    experiment = load_experiment(name)
    context, class_feature = ROWS[name]
    assert experiment.model == ModelConfig(weights="auto", context=context, class_feature=class_feature)
    train, loss = experiment.train, experiment.train.loss
    assert (train.learning_rate, train.momentum, train.weight_decay, train.poly_power) == (0.01, 0.9, 0.0005, 0.9)
    assert (train.steps, train.batch_size, experiment.data.crop_size) == (40_000, 8, (769, 769))
    assert (experiment.data.scale_range, experiment.data.flip) == ((0.5, 2.0), True)
    assert (loss.aux_weight, loss.coarse_weight) == (0.4, 0.6)
    assert loss.fine_weight == (0.7 if class_feature else 1.0)  # Eq. 4; a baseline has one segmentation
    assert loss.ohem == ("_ob" in name)
    assert (loss.ohem_threshold, loss.ohem_min_kept) == (0.7, 100_000)
    assert experiment.data.train_split == ("trainval" if name.endswith("trainval") else "train")
    assert PAPER_SCALES == (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


@pytest.mark.parametrize("name", ROWS)
def test_a_small_twin_has_the_same_wiring_on_a_light_network(name):
    small_twin = runpy.run_path(str(FOLDER / "_small.py"))["small_twin"]
    row, small = load_experiment(name), load_experiment(f"{name}_small")
    assert small == small_twin(row)
    assert (small.model.context, small.model.class_feature) == (row.model.context, row.model.class_feature)
    assert small.train.loss.ohem == row.train.loss.ohem
    assert small.data.train_split == row.data.train_split
    assert (small.model.backbone, small.model.weights) == ("resnet18", "none")
    assert small.train.steps < row.train.steps


@pytest.mark.parametrize("name", OTHER_BASES)
def test_a_small_twin_of_another_base_network_keeps_it(name):
    row, small = load_experiment(name).model, load_experiment(f"{name}_small").model
    light = (small.backbone_width, small.weights) == (32, "none")
    if name == "acf_pspnet":
        assert (small.backbone, small.context) == ("resnet18", "psp")
    else:
        assert small.backbone == row.backbone
        assert light == (name != "acf_efficientnet_lite")


def test_load_experiment_takes_overrides():
    assert load_experiment("acf_aspp", ["train.steps=80000"]).train.steps == 80_000


def test_an_unknown_experiment_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no experiment 'acf_asp'.*Did you mean.*acf_aspp"):
        load_experiment("acf_asp")


def test_the_model_s_settings_are_the_arguments_of_acfnet():
    arguments = {
        name: parameter.default
        for name, parameter in inspect.signature(ACFNet).parameters.items()
        if name not in ("dtype", "name", "trainable")  # They are of the training, or of every Keras model.
    }
    assert arguments.pop("num_classes") == 19  # of the experiment it is none: as many as the data have
    defaults = {field.name: field.default for field in dataclasses.fields(ModelConfig)}
    assert defaults.pop("num_classes") is None
    assert (defaults.pop("weights"), defaults.pop("initialization")) == ("none", None)  # what it begins with
    assert defaults == arguments


def test_suggestions_name_a_setting_by_its_last_part():
    assert (
        suggest("flip", ["data.flip", "evaluation.flip", "train.steps"]) == "Did you mean: data.flip, evaluation.flip?"
    )
