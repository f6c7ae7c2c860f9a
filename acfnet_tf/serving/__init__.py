"""Asking a model server for labels."""

from acfnet_tf.serving.connection import Client, RefusedError, ServingError

__all__ = ["Client", "RefusedError", "ServingError"]
