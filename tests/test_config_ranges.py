"""Every number of the configuration has a range, outside of which no way leads into a configuration."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

from acfnet_tf.config import Experiment
from acfnet_tf.errors import ConfigError
from acfnet_tf.recipes import load_experiment
from acfnet_tf.serving import client
from acfnet_tf.settings import FLOAT32_MAX, FLOAT32_MIN, Range, override, override_fields
from acfnet_tf.training.run_folder import read_config
from tests.running import run

plain = Experiment("plain")
WITH = {
    "serve.max_request_mib": {"serve.max_waiting_mib": 10**6},
    "serve.max_waiting_mib": {"serve.max_request_mib": 1},
}
"""What must be set too so that a value at the border is good."""


def groups(settings: Any = plain, path: str = "") -> Iterator[tuple[str, Any]]:
    """All dataclasses of settings in an experiment, by path."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield f"{path}{field.name}.", value
            yield from groups(value, f"{path}{field.name}.")


def numbers(expected: Any, count: int | None = None) -> Iterator[tuple[type, Range | None, int | None]]:
    """(int or float, its range, how many of them the setting has; None: one that is in no tuple), of each in a type."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected in (int, float):
        yield expected, None, count
    elif origin is Annotated and arguments[0] in (int, float):
        yield arguments[0], arguments[1], count
    elif origin is Annotated:
        yield from numbers(arguments[0], count)
    elif origin in (typing.Union, types.UnionType):
        for kind in arguments:
            yield from numbers(kind, count)
    elif origin is tuple:
        yield from numbers(arguments[0], 1 if arguments[-1] is Ellipsis else len(arguments))


NUMBERS = {
    f"{path}{field.name}": (group, *number)
    for path, group in groups()
    for field in dataclasses.fields(group)
    for number in numbers(typing.get_type_hints(type(group), include_extras=True)[field.name])
}


def borders(kind: type, allowed: Range) -> tuple[list[float], list[float]]:
    """The outermost values of a range, and those just outside."""
    if kind is int:
        return [allowed.least, allowed.most], [allowed.least - 1, allowed.most + 1, True, False, 1.5, 1.0, math.nan]
    inside, outside = [], [math.nan, math.inf, -math.inf, 2 * FLOAT32_MAX, FLOAT32_MIN / 2, True]
    for border, inner, beyond in (
        (allowed.least, allowed.least, -math.inf),
        (allowed.most, allowed.most, math.inf),
        (allowed.above, FLOAT32_MIN, None),
        (allowed.below, math.nextafter(allowed.below, 0), None),
    ):
        if math.isfinite(border):
            inside.append(inner)
            outside.append(border if beyond is None else border + math.copysign(1e-6, beyond) * max(1, abs(border)))
    return [*inside, *([FLOAT32_MAX] if math.inf == allowed.most == allowed.below else [])], outside


def test_there_are_settings():
    assert {"train.loss.ohem_threshold", "data.crop_size", "evaluation.scales", "train.micro_batch"} <= set(NUMBERS)
    assert len(NUMBERS) > 50


@pytest.mark.parametrize("path", NUMBERS)
def test_every_number_is_kept_in_its_range(path, tmp_path):
    group, kind, allowed, count = NUMBERS[path]
    assert allowed is not None, f"{path} has no range"
    assert kind is float or math.isfinite(allowed.least + allowed.most), f"{path} would overflow somewhere"
    name = path.rpartition(".")[2]
    inside, outside = borders(kind, allowed)
    for number in inside:
        value = number if count is None else (number,) * count
        changed = override_fields(plain, {path: value, **WITH.get(path, {})})
        assert Experiment.from_json(changed.to_json()) == changed
        text = str(number) if count is None else ",".join([str(number)] * count)
        companions = [f"{other}={setting}" for other, setting in WITH.get(path, {}).items()]
        assert override(plain, [f"{path}={text}", *companions]) == changed
    for number in outside:
        value = number if count is None else (number,) * count
        for make in (
            lambda value=value: dataclasses.replace(group, **{name: value}),
            lambda value=value: type(group)(**{name: value}),
            lambda value=value: override_fields(plain, {path: value}),
            lambda value=value: load_experiment("acf_aspp_small", [f"{path}={value}".replace("(", "[")]),
        ):
            with pytest.raises(ConfigError) as refused:
                make()
            assert str(refused.value).startswith(f"{path} = ") and "\n" not in str(refused.value)
    tree = json.loads(plain.to_json())
    *inner, last = path.split(".")
    node = tree
    for part in inner:
        node = node[part]
    node[last] = outside[0] if count is None else [outside[0]] * count
    (tmp_path / "config.json").write_text(json.dumps(tree))
    with pytest.raises(ConfigError) as refused:
        read_config(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'config.json'}: {path} = ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("data.scale_range=2,0.5", "data.scale_range = 2.0,0.5: expected the smaller scale first"),
        ("train.loss.ohem=true train.loss.ohem_heads=", "train.loss.ohem_heads = (): expected one head"),
        ("serve.max_request_mib=600", "serve.max_waiting_mib = 512: expected not less"),
        ("evaluation.scales=", "evaluation.scales = (): expected"),
        ("serve.host=", "serve.host = '': expected text, not empty"),
        ("model.weights=", "model.weights = '': expected text, not empty"),
        ("model.backbone=", "model.backbone = '': expected text, not empty"),
        ("data.image_folder=", "data.image_folder = '': expected text, not empty"),
        ("data.mask_folder=", "data.mask_folder = '': expected text, not empty"),
        ("data.val_split=", "data.val_split = '': expected text, not empty"),
        ("train.loss.class_weights=1,-1", "train.loss.class_weights = 1.0,-1.0: expected"),
        ("train.learning_rate=nan", "train.learning_rate = nan: expected a finite number of at least 0"),
        ("train.seed=-1", "train.seed = -1: expected a whole number from 0 to 4,294,967,295"),
    ],
)
def test_what_makes_no_sense_is_one_line(settings, message):
    with pytest.raises(ConfigError) as refused:
        load_experiment("acf_aspp_small", settings.split())
    assert str(refused.value).startswith(message)


def test_settings_that_fit_only_together_can_be_given_in_any_order():
    both = ["serve.max_request_mib=600", "serve.max_waiting_mib=700"]
    assert override(plain, both) == override(plain, both[::-1])


def test_an_empty_text_is_none_where_there_may_be_none():
    assert override(plain, ["data.cache=", "data.name="]) == plain


@pytest.mark.parametrize(("group", "name", "value"), [("serve", "host", None), ("data", "train_split", 5)])
def test_what_is_no_text_does_not_become_one(group, name, value):
    with pytest.raises(ConfigError, match=rf"{group}\.{name} = {value}: expected text"):
        dataclasses.replace(getattr(plain, group), **{name: value})


def test_lists_become_tuples():
    assert override_fields(plain, {"data.crop_size": [5, 6]}).data.crop_size == (5, 6)
    assert dataclasses.replace(plain.data, crop_size=[5, 6]).crop_size == (5, 6)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--parallel=0", "argument --parallel: 0: expected a whole number from 1 to 1,024"),
        ("--parallel=many", "argument --parallel: 'many': expected a whole number"),
        ("--timeout=nan", "argument --timeout: nan: expected a finite number above 0"),
        ("--timeout=-1", "argument --timeout: -1.0: expected"),
    ],
)
def test_flags_of_the_client_have_ranges(flag, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["client", "--input=a.png", "--address=localhost:1", flag])
    with pytest.raises(SystemExit):
        client.main()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0x9", "9", "x9x9", "9x9x", "9x9x9", "-1x9", "99999999999999999999x9", "axb"])
def test_the_size_of_the_complexity_table_has_a_range(size):
    with pytest.raises(SystemExit, match=f"Error: --size={size}: expected HEIGHTxWIDTH from 1x1"):
        run("--mode=benchmark", "--experiment=acf_sum_small", f"--size={size}")
