"""What the text of a setting means, and which values it may have, by the type of its field."""

from __future__ import annotations

import argparse
import contextlib
import math
import operator
import os
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

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
        return self.least <= number <= self.most and self.above < number < self.below  # nan is not

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


def flag(expected: Any) -> Callable[[str], Any]:
    """What `argparse` calls for a flag of this type and range, for one clear line where it does not fit."""

    def parse(text: str) -> Any:
        try:
            return checked(text, expected)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


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
        if isinstance(value, str) and not items[-1]:  # of "(6,)" or ""
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
