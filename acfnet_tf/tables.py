"""Tables of reports, and the numbers in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# An underscore inside a word is one; a "#", "-" or "1." is markup at the start of a line only.
_MARKUP = re.compile(r"[\\`*\[\]<|~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|^[#>+=-]|(?<=^\d)[.)]|(?<=^\d\d)[.)]")


def plain(text: str) -> str:
    """Text of a user's, such as the name of a class or file, in Markdown: it is shown as it is, in one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table whose columns are aligned in the source too: text to the left, numbers to the right."""
    widths = [max(map(letters_wide, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        gaps = [" " * (width - letters_wide(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [row[0] + gaps[0], *(gap + cell for cell, gap in zip(row[1:], gaps[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return [lines[0], rule, *lines[1:]]


def letters_wide(text: str) -> int:
    """How wide a text is, in letters; those of Chinese, Japanese and Korean are as wide as two."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0 … 1 in percent, without the sign; "–" where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of shares in points of percent, such as "+0.7", "−1.2" or "0.0"; "–" where there is none."""
    if difference is None or difference != difference:
        return "–"
    text = f"{100 * difference:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")
