"""What makes tiny trainings cheaper, for the tests that are not about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tiny import no_pictures, shallow_resnet


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    with shallow_resnet():
        yield


@pytest.fixture(scope="module")
def light(shallow: None) -> Iterator[None]:
    with no_pictures():
        yield
