"""Settings in frozen dataclasses: every field knows its type and range, and refuses what does not fit.

`override` changes single fields by dotted names, as `--set` does on the command line: unknown names are answered with
the nearest valid ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import math
import operator
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from acfnet_tf.errors import ConfigError

Tree = TypeVar("Tree")
"""A dataclass of settings, some of them in groups, which are dataclasses too."""

FLOAT32_MIN, FLOAT32_MAX = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""TensorFlow computes in float32, in which what is smaller becomes 0 and what is larger infinite."""


@dataclass(frozen=True)
class Range:
    """Which numbers a setting may have, as in `Annotated[int, Range(1, 10)]`; `above` and `below` are not in it."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most and self.above < number < self.below  # NaN is not.

    def __str__(self) -> str:
        if math.isfinite(self.least) and math.isfinite(self.most):
            return f"from {self.least:,} to {self.most:,}"
        bounds = {"of at least": self.least, "above": self.above, "of at most": self.most, "below": self.below}
        return " and ".join(f"{words} {bound:,}" for words, bound in bounds.items() if math.isfinite(bound))


def checked(value: Any, expected: Any) -> Any:
    """The value as the expected type, within its range.

    Raises:
        ValueError: it is not; says what it is and what was expected.
    """
    found = value
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        found = convert(value, expected)
        if is_within(found, expected):
            return found
    raise ValueError(f"{show(found)}: expected {describe(expected)}")


def convert(value: Any, expected: Any) -> Any:
    """The value as the expected type; strings are parsed.

    Raises:
        ValueError, TypeError, OverflowError: it does not fit. Whether it is in its range is `is_within`'s matter.
    """
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is Annotated:
        return convert(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        empty = ("none", "null", *([""] if str in arguments else []))
        if type(None) in arguments and (value is None or (isinstance(value, str) and value.lower() in empty)):
            return None
        kinds = [argument for argument in arguments if argument is not type(None)]
        for kind in kinds[:-1]:
            with contextlib.suppress(ValueError, TypeError):
                return convert(value, kind)
        return convert(value, kinds[-1])
    if origin is Literal:
        for choice in arguments:
            if str(choice) == str(value):
                return choice
        raise ValueError(value)
    if origin is tuple:
        items = value.strip("()[] ").split(",") if isinstance(value, str) else list(value)
        items = [item.strip(" '\"") if isinstance(item, str) else item for item in items]
        if isinstance(value, str) and not items[-1]:  # It was "(6,)" or "".
            del items[-1]
        kinds = arguments[:1] * len(items) if arguments[-1] is Ellipsis else arguments
        return tuple(convert(item, kind) for item, kind in zip(items, kinds, strict=True))
    if expected is bool:
        truth = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() not in truth:
            raise ValueError(value)
        return truth[str(value).lower()]
    if expected is int:
        if isinstance(value, bool):
            raise TypeError(value)
        return int(value.replace("_", "")) if isinstance(value, str) else operator.index(value)
    if expected is str:
        return os.fspath(value)
    if isinstance(value, bool):
        raise TypeError(value)
    return float(value)


def is_within(value: Any, expected: Any) -> bool:
    """Whether a value of the expected type, and every part of it, is in its range; floats must be finite in float32."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is Annotated:
        kind, allowed = arguments
        return is_within(value, kind) and (len(value) if isinstance(value, (str, tuple)) else value) in allowed
    if origin in (typing.Union, types.UnionType):
        return any(is_within(value, kind) for kind in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return isinstance(value, tuple) and all(map(is_within, value, kinds))
    if not isinstance(value, expected):
        return False
    return expected is not float or value == 0 or FLOAT32_MIN <= abs(value) <= FLOAT32_MAX


def describe(expected: Any) -> str:
    """The type in the words of a user."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is Annotated:
        kind, allowed = arguments
        return f"{describe(kind)} {allowed}" if kind in (int, float) else f"{describe(kind)}, not empty"
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if kind is type(None) else describe(kind) for kind in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a comma-separated list, each {describe(arguments[0])}"
        return f"{len(arguments)} comma-separated values, each {describe(arguments[0])}"
    return {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}[expected]


def show(value: Any) -> str:
    """A value as a user writes it; text that is none of the expected, in quotes."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) and value else repr(value)


class Settings:
    """A group of settings: when it is made, every value becomes one of its field's type, or is refused.

    Raises:
        ConfigError: a value of the wrong type, or outside the range of its field; names it by its dotted path.
    """

    _path: ClassVar[str]

    def __init_subclass__(cls, path: str) -> None:
        cls._path = path

    def __post_init__(self) -> None:
        for name, expected in _types(type(self)).items():
            try:
                object.__setattr__(self, name, checked(getattr(self, name), expected))
            except ValueError as error:
                raise ConfigError(f"{self._path}.{name} = {error}") from error

    def _refusal(self, name: str, value: Any, expected: str) -> ConfigError:
        return ConfigError(f"{self._path}.{name} = {show(value)}: expected {expected}")


@functools.cache
def _types(settings: type) -> dict[str, Any]:
    """The type of every field with its range, but for groups in the group."""
    types = typing.get_type_hints(settings, include_extras=True)
    fields = {each.name: types[each.name] for each in dataclasses.fields(settings)}
    return {name: expected for name, expected in fields.items() if not dataclasses.is_dataclass(expected)}


def override(settings: Tree, assignments: Iterable[str]) -> Tree:
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
    return override_fields(settings, values)


def override_fields(settings: Tree, values: Mapping[str, Any]) -> Tree:
    """Like `override`, from a mapping of dotted paths to values (strings or already typed)."""
    known = flatten(dataclasses.asdict(settings))
    for path in values:
        if path not in known or path == "name":
            raise ConfigError(f"no setting {path!r}. {suggest(path, [key for key in known if key != 'name'])}")
    return _replace(settings, values)


def differences(old: Tree, new: Tree) -> dict[str, tuple[Any, Any]]:
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


def _replace(group: Any, values: Mapping[str, Any]) -> Any:
    """A copy of the dataclass with the values at these paths, all at once: one may fit only together with another."""
    changes, inner = {}, {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
        else:
            changes[head] = value
    changes |= {head: _replace(getattr(group, head), of_group) for head, of_group in inner.items()}
    return dataclasses.replace(group, **changes)
