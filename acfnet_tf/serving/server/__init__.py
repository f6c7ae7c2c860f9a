"""The embedded server, for development and tests: TF Serving's REST and gRPC from an exported SavedModel."""

from acfnet_tf.errors import needs_extra

with needs_extra("serving", "the server"):
    from acfnet_tf.serving.server.server import Server, serve

__all__ = ["Server", "serve"]
