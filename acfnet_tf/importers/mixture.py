"""Masks of one data set in which a number means one thing here and another there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def find_mixture(masks: Sequence[object], values: Sequence[np.ndarray], ignored: Collection[int]) -> str:
    """Whether a number means one thing in some masks and another in others; then what to tell the user, or else "".

    - Masks of 0 and 255, in which 255 is the foreground, among masks of 0 and 1, in which it is ignored: 255 then is
      beside 0 alone in more masks than beside another class, and in less than half of the masks that hold such a class.
      A mask of nothing but 255 is an image that is ignored, unless there are two classes and more than half as many of
      such masks as of those with the second.
    - Masks of 1 … N among masks of 0 … N−1: no mask then holds 0 and N, and some of either kind hold all of theirs.

    Args:
        masks: what messages call them.
        values: (K,) of each, numbers that occur in it, ascending.
        ignored: numbers that are no class.
    """
    holds = [set(held.tolist()) for held in values]
    everything = set().union(*holds)
    classes = sorted(everything.difference(ignored))
    if len(classes) < 2:
        return ""
    first, second, last = classes[0], classes[1], classes[-1]

    def both(one: int, other: int) -> str:
        return f"{masks[one]} holds {_listed(holds[one])}, {masks[other]} {_listed(holds[other])}"

    objects = [place for place, held in enumerate(holds) if held.intersection(classes[1:])]
    for white in sorted(value for value in everything.intersection(ignored) if value > last):
        beside = [place for place in objects if white in holds[place]]
        odd = [place for place, held in enumerate(holds) if white in held and not held.intersection(classes[1:])]
        alone = sum(first not in holds[place] for place in odd)
        if len(classes) > 2 or 2 * alone <= len(objects):
            odd = [place for place in odd if first in holds[place]]
        if len(odd) > len(beside) and 2 * len(beside) < len(objects):
            plain = next(place for place in objects if white not in holds[place])
            few = f"few masks ({len(beside)} of {len(objects)}) hold" if beside else "no mask holds"
            return (
                f"{both(plain, odd[0])}, and {few} {white} beside"
                f" {second if second == last else 'another class'}: is it ignored, or a class in {len(odd)} of"
                f" {len(holds)} masks? Save all masks with the same numbers, or say it in a JSON class file"
                f' (data.classes=FILE): "ignore": [{white}], or "ids": [{second}, {white}] for one class.'
            )
    low, high = (
        [place for place, held in enumerate(holds) if held.difference(ignored) == set(kind)]
        for kind in (classes[:-1], classes[1:])
    )
    consecutive = len(classes) > 2 and last - first == len(classes) - 1
    if consecutive and low and high and not any({first, last} <= held for held in holds):
        return (
            f"{both(low[0], high[0])}, and no mask holds {first} beside {last}: do the numbers of some masks begin at"
            f" {first}, of others at {first + 1}? Save all masks with the same numbers, or name the classes"
            " (data.classes=FILE) if all are right."
        )
    return ""


def _listed(values: Collection[int]) -> str:
    """ "0 and 255", "0, 1 and 2"; of many, the first and the last."""
    shown = [str(value) for value in sorted(values)]
    if len(shown) > 6:
        shown = [", ".join(shown[:3]) + ", …", shown[-1]]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
