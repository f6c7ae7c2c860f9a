"""The embedded server, for development and tests: TF Serving's REST and gRPC from an exported SavedModel."""

from acfnet_tf.errors import UserError

try:
    from acfnet_tf.serving.server.server import Server, serve
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("aiohttp", "grpc", "tensorflow_serving"):
        raise
    raise UserError('the server needs more packages: pip install -e ".[serving]"') from error

__all__ = ["Server", "serve"]
