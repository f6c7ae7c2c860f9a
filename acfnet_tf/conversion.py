"""What the text of a setting means, by the type of its field."""

from __future__ import annotations

import contextlib
import types
import typing
from typing import Any, Literal


def convert(value: Any, expected: Any) -> Any:
    """The value as the expected type; strings are parsed. Raises ValueError or TypeError where it does not fit."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and (
            value is None or (isinstance(value, str) and value.lower() in ("none", "null"))
        ):
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
        items = [item for item in items if item != ""]
        kinds = arguments[:1] * len(items) if arguments[-1] is Ellipsis else arguments
        return tuple(convert(item, kind) for item, kind in zip(items, kinds, strict=True))
    if expected is bool:
        truth = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() not in truth:
            raise ValueError(value)
        return truth[str(value).lower()]
    if expected is int:
        if isinstance(value, (bool, float)):
            raise ValueError(value)
        return int(value.replace("_", "") if isinstance(value, str) else value)
    return expected(value)


def describe(expected: Any) -> str:
    """The type in the words of a user."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if kind is type(None) else describe(kind) for kind in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a comma-separated list, each {describe(arguments[0])}"
        return f"{len(arguments)} comma-separated values, each {describe(arguments[0])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[expected]
