"""The one error of this package."""

from __future__ import annotations

from acfnet_tf.config import UserError


class DataError(UserError):
    """A file or folder of the data set that is missing, damaged or not what it should be. One line that names it."""
