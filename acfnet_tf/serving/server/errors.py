"""What a request is answered with when it cannot be served: a status and a line of text, as TF Serving has them."""

from __future__ import annotations

import grpc
import tensorflow as tf

Status = grpc.StatusCode

_HTTP = {
    Status.INVALID_ARGUMENT: 400,
    Status.FAILED_PRECONDITION: 400,
    Status.OUT_OF_RANGE: 400,
    Status.NOT_FOUND: 404,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.UNIMPLEMENTED: 501,
    Status.UNAVAILABLE: 503,
}
_BY_NUMBER = {status.value[0]: status for status in Status}
_LONGEST = 1024


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        status: gRPC's; for REST it is translated by TF Serving's table.
        message: what is wrong, for the client.
        http: an HTTP status that gRPC has no equal of.
    """

    def __init__(self, status: grpc.StatusCode, message: str, http: int | None = None) -> None:
        super().__init__(message if len(message) <= _LONGEST else f"{message[:_LONGEST]}...TRUNCATED")
        self.status = status
        self.http = http or _HTTP.get(status, 500)


def bad_request(message: str) -> RequestError:
    """The client's mistake: INVALID_ARGUMENT, or 400."""
    return RequestError(Status.INVALID_ARGUMENT, message)


def from_tensorflow(error: tf.errors.OpError) -> RequestError:
    """An operation's error with its status and its own words: the session's Python adds places in code around them."""
    original = error.__context__ if isinstance(error.__context__, tf.errors.OpError) else error
    return RequestError(_BY_NUMBER.get(original.error_code, Status.INTERNAL), original.message)
