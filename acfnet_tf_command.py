"""What `python main.py` and the installed command `acfnet_tf` start.

It stands outside of the package, because importing anything of that loads TensorFlow: help would take seconds, and the
environment variables that TensorFlow reads when it loads would come too late.
"""

from __future__ import annotations

import importlib.util
import os
import runpy


def main() -> None:
    """Runs `acfnet_tf/cli/_entry.py` by its path, of the package that an import would find."""
    (package,) = importlib.util.find_spec("acfnet_tf").submodule_search_locations
    runpy.run_path(os.path.join(package, "cli", "_entry.py"))["main"]()
