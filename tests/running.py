"""Commands, within this process."""

from __future__ import annotations

from acfnet_tf.cli import _entry


def run(*arguments: str) -> None:
    """`python main.py ARGUMENTS`."""
    _entry.run(["main.py", *arguments])
