"""Law: a training that is killed again and again ends, to the bit, like one that nobody disturbed. See `chaos.py`."""

from __future__ import annotations

import pytest

from tests.training.chaos import torment


# The seeds are such that the kills hit while a checkpoint is written and in a validation.
@pytest.mark.parametrize(("workers", "seed"), [(1, 11), (2, 27)])
def test_kills_change_nothing(workers, seed, tmp_path):
    assert torment(tmp_path, workers, kills=2, steps=15, seed=seed) == []
