"""One line for a mistake: what failed among many, and which extra a missing package comes with."""

from __future__ import annotations

import sys

import pytest

from acfnet_tf import errors
from acfnet_tf.errors import DataError, UserError, needs_extra
from acfnet_tf.failures import Failures


def gather(*found: Exception | None) -> Failures:
    """The failures of items, of which those without an exception go well."""
    failures = Failures()
    for error in found:
        with failures.of_one():
            if error:
                raise error
    return failures


def test_failures_are_told_when_the_others_are_done():
    gather(None, None).raise_any(2)
    with pytest.raises(UserError, match=r"^2 of 3 images could not be read; the others are done:\n  a\n  b$"):
        gather(DataError("a"), None, DataError("b")).raise_any(3)
    with pytest.raises(UserError, match=r"^1 of 2 figures failed; "):
        gather(DataError("a"), None).raise_any(2, "figures")
    with pytest.raises(DataError, match=r"^a$"):
        gather(DataError("a")).raise_any(1)
    with pytest.raises(ZeroDivisionError):
        gather(ZeroDivisionError())


@pytest.mark.parametrize(("checkout", "package"), [(True, r'-e "\.\[export\]"'), (False, r'"acfnet_tf\[export\]"')])
def test_a_missing_package_names_its_extra(checkout, package, monkeypatch):
    monkeypatch.setattr(errors, "_IS_CHECKOUT", checkout)
    monkeypatch.setitem(sys.modules, "json", None)
    message = rf"^ONNX needs more packages \(json\): pip install {package}$"
    with pytest.raises(UserError, match=message), needs_extra("export", "ONNX"):
        import json  # noqa: F401


def test_a_broken_package_says_what_is_wrong_with_it():
    message = r"^ONNX needs more packages \(cannot import name 'x'\): "
    with pytest.raises(UserError, match=message), needs_extra("export", "ONNX"):
        raise ImportError("cannot import name 'x'", name="onnx")
