"""Malformed images against an exported network behind the embedded server, and against prediction of a folder.

Each gets an error or the right labels: never a crash, a hang or much memory.
"""

from __future__ import annotations

import io
import resource
import warnings

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import ServeConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.reading import image_of
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.label_files import predict_files
from acfnet_tf.serving.channels import GrpcChannel, RefusedError
from acfnet_tf.serving.server import Server
from tests.serving import malformed

MAX_PIXELS = 100_000
GROWTH_MIB = 400
BROKEN, ODD = dict(malformed.broken_images()), dict(malformed.odd_images())
DAMAGED = dict(malformed.damaged_images(160))


@pytest.fixture(autouse=True)
def _needs_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about damaged files
        yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < GROWTH_MIB


def test_the_server_refuses_them_or_labels_them_as_prediction_does(exported, predictor):
    with Server(exported.parent, ServeConfig(rest_port=0, grpc_port=0)) as server:
        channel = GrpcChannel("grpc", server.grpc_address, server.name, None, timeout=60, retries=0)

        def labels(content: bytes) -> np.ndarray | None:
            """None where the server refuses."""
            try:
                return np.asarray(Image.open(io.BytesIO(channel.predict([content])[0])))
            except RefusedError as error:
                if "INVALID_ARGUMENT" in str(error):
                    return None
                raise

        for name, content in BROKEN.items():
            assert labels(content) is None, name
        read = {name: labels(content) for name, content in ODD.items()}
        for name, found in read.items():
            if found is not None:
                expected = predictor(image_of(ODD[name], name))
                np.testing.assert_array_equal(found, expected, err_msg=name)
        assert {name for name, found in read.items() if found is None} <= {"animated GIF", "TIFF"}
        for content in DAMAGED.values():
            labels(content)
        assert labels(malformed.good_image()).shape == (24, 32)
        channel.close()


def test_prediction_lists_them_and_does_the_others(predictor, tmp_path):
    cases = list((BROKEN | ODD | DAMAGED).values())
    (tmp_path / "in").mkdir()
    for number, content in enumerate(cases):
        (tmp_path / "in" / f"{number:03}.png").write_bytes(content)
    unreadable = 0
    for number, content in enumerate(cases):
        try:
            image_of(content, str(number), max_pixels=MAX_PIXELS)
        except DataError:
            unreadable += 1
    assert unreadable >= len(BROKEN)
    with pytest.raises(UserError, match=f"{unreadable} of {len(cases)} images could not be read"):
        predict_files(predictor, tmp_path / "in", tmp_path / "out", CITYSCAPES.colors, MAX_PIXELS, progress=False)
    assert len(list((tmp_path / "out").glob("*_color.png"))) == len(cases) - unreadable
