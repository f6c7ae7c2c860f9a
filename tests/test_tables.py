"""Numbers in reports."""

from __future__ import annotations

import re

import numpy as np
import pytest

from acfnet_tf.tables import letters_wide, markdown_table, percent, plain, points


def test_points_have_a_sign_and_none_where_they_are_nothing():
    values = (0.0072, -0.0125, -0.0001, None, np.nan)
    assert [points(value) for value in values] == ["+0.7", "−1.2", "0.0", "–", "–"]


def test_percent():
    assert [percent(0.56304, 2), percent(1), percent(None)] == ["56.30", "100.0", "–"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("traffic light", "traffic light"),
        ("class_7", "class_7"),
        ("a|b", r"a\|b"),
        ("a\nb\t c", "a b c"),
        ("`<b>` *x* _y_", r"\`\<b>\` \*x\* \_y\_"),
        ("C:\\x", r"C:\\x"),
        ("$a$ [b](c) ~~d~~ &lt;", r"\$a\$ \[b\](c) \~\~d\~\~ \&lt;"),
        ("# a", r"\# a"),
        ("1. a", r"1\. a"),
    ],
)
def test_names_stand_in_markdown_as_they_are(name, shown):
    assert plain(name) == shown


def test_a_table_of_any_names_has_its_columns():
    lines = markdown_table(["class", "x"], [[plain(name), "1"] for name in ("道路", "a|b", "a\nb", "|")])
    assert [len(re.split(r"(?<!\\)\|", line)) for line in lines] == [4] * 6
    assert len({letters_wide(line) for line in lines}) == 1
