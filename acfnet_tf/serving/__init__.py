"""Asking a model server for labels."""

from acfnet_tf.serving.channels import RefusedError, ServingError
from acfnet_tf.serving.connection import Client

__all__ = ["Client", "RefusedError", "ServingError"]
