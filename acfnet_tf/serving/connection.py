"""Asks a model server, TensorFlow Serving or the embedded one, for the labels of images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np

from acfnet_tf.data.reading import PNG_START, image_of
from acfnet_tf.data.sample import read_bytes
from acfnet_tf.errors import UserError
from acfnet_tf.pictures import decoded_labels, encoded
from acfnet_tf.serving.channels import GrpcChannel, RestChannel

ImageSource = np.ndarray | str | Path | bytes
"""(H, W, 3) uint8 RGB; or a file, or the bytes of one, in any format that Pillow reads."""


class Client:
    """Labels images on a server that has an exported model, by the signature `serving_default`.

    Threads may share a client.

    Args:
        address: "http://HOST:8501" (REST), or "HOST:8500" or "grpc://HOST:8500" (gRPC); "https://" and "grpcs://" where
            a proxy in front of the server speaks TLS.
        model: the name under which the model is served.
        protocol: "rest" or "grpc", where the address alone does not say it.
        version: number or label of a version; none means the newest that is served.
        timeout: seconds for one request; over gRPC its repetitions are included.
        retries: how often (0–4) a request is repeated, after growing random pauses, when the server cannot be reached
            or says that it is too busy. Nothing else is repeated.

    Raises:
        UserError: the address makes no sense, or a package is missing.

    Example:
        >>> with Client("http://127.0.0.1:8501", "acf_aspp") as client:
        ...     labels = client("street.jpg")  # (H, W) uint8
    """

    def __init__(
        self,
        address: str,
        model: str = "acfnet",
        protocol: Literal["rest", "grpc"] | None = None,
        version: int | str | None = None,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        if not 0 <= retries <= 4:
            raise UserError(f"retries = {retries}: expected 0 to 4")
        scheme, _, host = address.rpartition("://")
        scheme = scheme or {"rest": "http"}.get(protocol, "grpc")
        kinds = {"http": RestChannel, "https": RestChannel, "grpc": GrpcChannel, "grpcs": GrpcChannel}
        if scheme not in kinds or not _is_host(host, port_needed=kinds[scheme] is GrpcChannel):
            raise UserError(f"address {address!r}: expected http://HOST:PORT (REST) or HOST:PORT (gRPC)")
        if protocol not in (None, "rest" if kinds[scheme] is RestChannel else "grpc"):
            raise UserError(f"address {address!r} is not for protocol {protocol!r}")
        self._channel = kinds[scheme](scheme, host, model, version, timeout, retries)

    def __call__(self, image: ImageSource | list[ImageSource]) -> np.ndarray | list[np.ndarray]:
        """Class indices of one image, or of a list of images of any sizes in one request.

        Returns:
            (H, W) uint8, uint16 for more than 256 classes; a list of them for a list. Images with an EXIF orientation
            come back upright.

        Raises:
            RefusedError: the server does not accept an image.
            ServingError: the server cannot be reached, does not have the model or failed.
            DataError: a file cannot be read or is no image.
            ValueError: an array has another shape or type.
        """
        if not isinstance(image, list):
            return self([image])[0]
        if not image:
            return []
        return [decoded_labels(answer) for answer in self._channel.predict([_encode(each) for each in image])]

    def close(self) -> None:
        """Closes the connections."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_host(host: str, port_needed: bool) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        return bool(parts.hostname) and (parts.port is not None or not port_needed)
    except ValueError:
        return False


def _encode(image: ImageSource) -> bytes:
    """An image as every server takes it: PNG or JPEG. Files of these two are not touched."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"expected an RGB image (H, W, 3) uint8, not {image.shape} {image.dtype}")
        return encoded(image, compress_level=1)
    source, content = ("the image", image) if isinstance(image, bytes) else (image, read_bytes(image))
    is_common = content.startswith((PNG_START, b"\xff\xd8\xff"))
    return content if is_common else encoded(image_of(content, source), compress_level=1)
