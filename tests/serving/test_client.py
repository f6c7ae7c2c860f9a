"""What is asked of every server, embedded or not, through the client, over gRPC and REST."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.reading import read_image
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.create import create_model
from acfnet_tf.serving import Client, RefusedError, ServingError
from tests.serving.conftest import EMBEDDED_CONFIG, EXTERNAL, THRESHOLD, Served, encoded, noise
from tests.serving.models import predict_request, write_model
from tests.tiny import tiny_experiment


class TestEveryServer:
    @settings(max_examples=8, deadline=None)
    @given(sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=5))
    def test_mixed_sizes_in_one_request(self, served: Served, client: Client, sizes):
        images = [noise(height, width) for height, width in sizes]
        answers = client(images)
        assert len(answers) == len(images)
        for labels, image in zip(answers, images, strict=True):
            served.check(labels, image)

    @pytest.mark.parametrize("count", [1, 16])
    def test_batches(self, served, client, count):
        images = [noise(seed=seed) for seed in range(count)]
        for labels, image in zip(client(images), images, strict=True):
            assert labels.dtype == np.uint8
            served.check(labels, image)

    def test_arrays_files_and_bytes_of_any_format(self, served, client, tmp_path):
        image = noise()
        for name in ("a.png", "b.bmp", "c.tif", "d.webp"):
            Image.fromarray(image).save(tmp_path / name, **({"lossless": True} if name == "d.webp" else {}))
        files = sorted(tmp_path.iterdir())
        for labels in client([image, *files, *map(str, files), encoded(image)]):
            served.check(labels, image)
        photo = encoded(image, "JPEG")
        assert client(photo).shape == image.shape[:2]

    def test_no_images(self, client):
        assert client([]) == []
        assert client._channel.predict([]) == []  # the client itself would not ask

    @pytest.mark.parametrize("cut", [40, 200, -20])
    def test_corrupt_bytes_are_refused_and_the_server_lives(self, served, client, cut):
        image = noise()
        with pytest.raises(RefusedError, match="INVALID_ARGUMENT"):
            client([image, encoded(image)[:cut]])
        served.check(client(image), image)

    def test_oversized_images_are_refused_before_they_are_decoded(self, served, client):
        bomb = bytearray(encoded(noise()))
        bomb[16:24] = (60_000).to_bytes(4, "big") * 2
        with pytest.raises(RefusedError, match="INVALID_ARGUMENT"):
            client(bytes(bomb))
        image = noise()
        served.check(client(image), image)

    def test_unknown_model_and_version(self, served, protocol):
        for options in ({"model": "nobody"}, {"model": served.model, "version": 12345}):
            with (
                Client(served.addresses[protocol], **options) as client,
                pytest.raises(ServingError, match=r"NOT_FOUND.*model, version"),
            ):
                client(noise())

    def test_200_concurrent_requests(self, served, client):
        images = [noise(seed=seed) for seed in range(200)]
        with ThreadPoolExecutor(40) as pool:
            for labels, image in zip(pool.map(client, images), images, strict=True):
                served.check(labels, image)


class TestVersions:
    """They write into the model's folder."""

    @pytest.fixture
    def folder(self, served) -> Path:
        if not served.folder:
            pytest.skip("ACFNET_TF_SERVING_DIR is not given")
        return served.folder

    def test_a_new_version_takes_over_and_no_request_fails(self, served, folder, protocol, client):
        dark = np.full((4, 4, 3), 100, np.uint8)
        first = _next_version(folder)

        def serve(version: int, threshold: int) -> None:
            write_model(folder, version, threshold)
            with Client(served.addresses[protocol], served.model, version=version) as newest:
                _wait_until(lambda: _answers(newest, dark))

        serve(first, threshold=THRESHOLD)
        over = threading.Event()

        def ask() -> list[int]:
            answers = []
            while not over.is_set():
                answers.append(int(client(dark).max()))
            return [*answers, int(client(dark).max())]

        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(ask) for _ in range(4)]
            try:
                serve(first + 1, threshold=50)
            finally:
                over.set()
            for answers in (worker.result() for worker in workers):
                assert answers == sorted(answers) and set(answers) == {0, 1}  # never back to the old version
        serve(first + 2, threshold=THRESHOLD)

    @pytest.mark.skipif(bool(EXTERNAL), reason="TensorFlow Serving tries again and again, for minutes")
    def test_a_version_that_fails_to_warm_up_does_not_serve(self, served, folder, client, tmp_path):
        version = write_model(tmp_path, 1, threshold=0)
        log = PredictionLog()
        log.predict_log.request.CopyFrom(predict_request("toy", {}, "no_such_signature"))
        with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
            writer.write(log.SerializeToString())
        number = _next_version(folder)
        version.rename(folder / str(number))
        url = f"{served.addresses['rest']}/v1/models/{served.model}"
        _wait_until(lambda: "no_such_signature" in urllib3.request("GET", url).data.decode())
        image = noise()
        served.check(client(image), image)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(create_model(tiny_experiment().model))


@pytest.fixture(scope="module")
def addresses(predictor, tmp_path_factory) -> Iterator[dict[str, str]]:
    from acfnet_tf.export.saved_model import write_saved_model
    from acfnet_tf.serving.server import Server

    folder = tmp_path_factory.mktemp("models") / "tiny"
    classes = numbered_classes(predictor.num_classes)
    write_saved_model(predictor, folder / "1", "tiny", classes, ExportConfig(max_pixels=4_000), [noise()])
    with Server(folder, EMBEDDED_CONFIG) as server:
        yield {"grpc": server.grpc_address, "rest": server.rest_address}


@pytest.mark.skipif(bool(EXTERNAL), reason="it compares with a model of its own")
class TestExportedNetwork:
    def test_labels_are_the_predictors(self, predictor, addresses, protocol, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        files = {
            "turned.jpg": encoded(noise(33, 49), "JPEG", exif=exif),
            "grey.png": encoded(noise(40, 61)[..., 0]),
            "deep.png": encoded(noise(30, 20)[..., 0].astype(np.uint16) * 257),
            "large.tif": encoded(noise(50, 70), "TIFF"),
        }
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        with Client(addresses[protocol], "tiny") as client:
            for name, labels in zip(files, client([tmp_path / name for name in files]), strict=True):
                np.testing.assert_array_equal(labels, predictor(read_image(tmp_path / name)), err_msg=name)

    def test_a_refusal_says_size_and_limit(self, addresses, protocol):
        with (
            Client(addresses[protocol], "tiny") as client,
            pytest.raises(RefusedError, match=r"image 1 .*100x50.*4000"),
        ):
            client([noise(), noise(50, 100)])


def _next_version(folder: Path) -> int:
    return 1 + max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def _answers(client: Client, image: np.ndarray) -> bool:
    try:
        client(image)
    except ServingError:
        return False
    return True


def _wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
