"""What a user is told of the weights that a model took, and of those that it did not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

NAMES_SHOWN = 8
"""Of each kind of variables that were not taken, a report names as many; the others are counted."""


def report(headline: str, kinds: Mapping[str, Sequence[str]]) -> str:
    """The headline, and a line for each kind of variables that there are: {kind: their names}."""
    lines = [f"  {kind}: {first_of(names, NAMES_SHOWN)}" for kind, names in kinds.items() if names]
    return "\n".join([headline, *lines])


def first_of(names: Iterable[str], shown: int = 4) -> str:
    """The first of the names, for a message, and how many more there are."""
    names = list(names)
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def count_in_layers(paths: Iterable[str]) -> list[str]:
    """The layers that have these variables, each with their number."""
    groups = itertools.groupby(paths, lambda path: path.split("/")[0])
    return [f"{layer} ({len(list(group))})" for layer, group in groups]
