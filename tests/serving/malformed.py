"""Requests that nobody should send, the same ones every time: for the server, an exported model, or prediction."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

Case = tuple[str, bytes]

_PIXELS = np.random.default_rng(7).integers(0, 256, (24, 32, 3), np.uint8)


def good_image() -> bytes:
    """A PNG that there is nothing wrong with."""
    return _saved(Image.fromarray(_PIXELS), "PNG")


def broken_images() -> Iterator[Case]:
    """Bytes that no decoder may accept: each must be refused."""
    png, jpeg = good_image(), _saved(Image.fromarray(_PIXELS), "JPEG")
    yield "empty", b""
    yield "one byte", b"\x89"
    yield "text", b"this is no image" * 100
    yield "html", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "zeros", bytes(4096)
    yield "noise", np.random.default_rng(0).bytes(4096)
    yield "PNG signature only", png[:8]
    yield "PNG header only", png[:33]
    yield "PNG, no end", png[: len(png) // 2]
    yield "PNG, wrong checksum", png[:29] + bytes(4) + png[33:]
    yield "JPEG, first bytes only", jpeg[:20]
    for edges in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (0, 0), (2**32 - 1, 2**32 - 1)):
        yield f"PNG of {edges[0]}×{edges[1]}", _png_claiming(*edges)
    start_of_frame = jpeg.index(b"\xff\xc0") + 5
    yield "JPEG of 65500×65500", jpeg[:start_of_frame] + struct.pack(">HH", 65_500, 65_500) + jpeg[start_of_frame + 4 :]
    bmp = _saved(Image.fromarray(_PIXELS), "BMP")
    yield "BMP of 60000×60000", bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:]
    yield "BMP of negative width", bmp[:18] + struct.pack("<ii", -32, 24) + bmp[26:]
    gif = _saved(Image.fromarray(_PIXELS).quantize(16), "GIF")
    frame = gif.index(b",\0\0\0\0") + 5
    sides = struct.pack("<HH", 60_000, 60_000)
    yield "GIF of 60000×60000", gif[:6] + sides + gif[10:frame] + sides + gif[frame + 4 :]


def odd_images() -> Iterator[Case]:
    """Images of unusual kinds: each must be refused, or be read right."""
    image = Image.fromarray(_PIXELS)
    yield "CMYK JPEG", _saved(image.convert("CMYK"), "JPEG")
    yield "progressive JPEG", _saved(image, "JPEG", progressive=True)
    yield "animated GIF", _saved(image, "GIF", save_all=True, append_images=[image.rotate(90)] * 3)
    yield "palette with transparency", _saved(image.quantize(16), "PNG", transparency=3)
    yield "grey and alpha", _saved(image.convert("LA"), "PNG")
    yield "one bit", _saved(image.convert("1"), "PNG")
    yield "16 bits", _saved(Image.fromarray(_PIXELS[..., 0].astype(np.uint16) * 257), "PNG")
    yield "one pixel", _saved(image.crop((0, 0, 1, 1)), "PNG")
    yield "one row", _saved(Image.new("RGB", (3_000, 1)), "PNG")
    yield "BMP", _saved(image, "BMP")
    yield "WebP", _saved(image, "WEBP")
    yield "TIFF", _saved(image, "TIFF")
    for orientation in (3, 6, 9, 65_535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"EXIF orientation {orientation}", _saved(image, "JPEG", exif=exif)
    yield "broken EXIF", _saved(image, "JPEG", exif=b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff" * 4)
    png = good_image()
    yield "PNG with 20 MB of packed comment", png[:33] + _chunk(b"zTXt", b"x\0\0" + _packed_zeros(20)) + png[33:]
    yield "PNG with text behind", png + b"text" * 1000


def damaged_images(count: int, seed: int = 0) -> Iterator[Case]:
    """Images cut off or with wrong bytes: each must be refused, or be answered with labels of some size."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(_PIXELS)
    formats = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
    for index in range(count):
        kind = formats[index % len(formats)]
        content = bytearray(_saved(image, kind))
        if random.random() < 0.4:
            del content[random.integers(1, len(content)) :]
            yield f"{kind} cut to {len(content)} bytes", bytes(content)
            continue
        for place in random.integers(0, len(content), random.integers(1, 8)):
            content[place] = random.integers(0, 256)
        yield f"{kind} with wrong bytes, {index}", bytes(content)


def rest_bodies() -> Iterator[Case]:
    """Bodies of POST …:predict, each of which must be answered with an error 400."""
    image = {"b64": base64.b64encode(good_image()).decode()}
    right = json.dumps({"inputs": [image]}).encode()
    yield "empty", b""
    yield "no object", b"[1, 2]"
    yield "a number", b"1"
    yield "zeros", bytes(100)
    yield "not UTF-8", b'{"inputs": ["\xff\xfe"]}'
    yield "UTF-16", right.decode().encode("utf-16")
    yield "nested lists", b'{"inputs": ' + b"[" * 100_000
    yield "nested lists that end", b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}"
    yield "40 dimensions", b'{"inputs": ' + b"[" * 40 + b"]" * 40 + b"}"
    yield "nested objects", b'{"inputs": ' + b'{"a": ' * 50_000
    yield (
        "a number of 100,000 digits",
        b'{"signature_name": "predict_tensor", "inputs": [[[[' + b"9" * 100_000 + b"]]]]}",
    )
    yield "half a surrogate", b'{"inputs": ["\\ud800"]}'
    for cut in range(1, len(right), len(right) // 12):
        yield f"cut to {cut} bytes", right[:cut]
    yield from ((name, json.dumps(body).encode()) for name, body in _wrong_values(image))


def _wrong_values(image: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """JSON that is well-formed, and wrong."""
    yield "no inputs", {}
    yield "both forms", {"inputs": [image], "instances": [image]}
    yield "no instances", {"instances": []}
    yield "unknown signature", {"signature_name": "nothing", "inputs": [image]}
    yield "the signature of initialisation", {"signature_name": "__saved_model_init_op", "inputs": []}
    for wrong in (None, 1, 1.5, True, "text", {}, {"b64": 1}, {"b64": "AAAA", "more": 1}, {"image_bytes": None}, [[]]):
        yield f"inputs: {wrong}", {"inputs": wrong}
    for wrong in (None, 1, "text", {}, [None], [1], [{}], [{"b64": None}], [[image]], [image, 1], [{"other": image}]):
        yield f"instances: {wrong}", {"instances": wrong}
        yield f"signature_name: {wrong}", {"signature_name": wrong if wrong else [wrong], "inputs": [image]}
    for text in ("!", "A", "AAAAA", "====", "Ωmega", "AA=A", "-_-_", "\0"):
        yield f"base64 {text!r}", {"inputs": [{"b64": text}]}
    yield "mixed forms", {"instances": [image, {"image_bytes": image}]}
    yield "2×2 images", {"inputs": [[image, image], [image, image]]}
    yield "unequal lists", {"inputs": [[image], [image, image]]}
    pixels = [[[[1, 2, 3]]]]
    for wrong in (
        [], [[]], [[[[1, 2]]]], [[[1, 2, 3]]], [pixels], [[[[1, 2, "3"]]]], [[[[1, 2, None]]]], [[[[1.5, 2, 3]]]],
        [[[[256, 0, 0]]]], [[[[-1, 0, 0]]]], [[[[1e30, 0, 0]]]], [[[[2**70, 0, 0]]]], [[[[True, False, True]]]],
        [[[[1, 2, 3], [1, 2]]]], [[[image]]], "text", 7, None, {"other": pixels},
    ):  # fmt: skip
        yield f"images: {wrong}", {"signature_name": "predict_tensor", "inputs": wrong}


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png_claiming(width: int, height: int) -> bytes:
    """A PNG with the right checksums whose header lies about its size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _packed_zeros(mib: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(mib)), packer.flush()])


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
