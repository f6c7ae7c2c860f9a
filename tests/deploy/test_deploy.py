"""The files of `deploy/` are what TensorFlow Serving, Docker Compose and Prometheus read, and they agree."""

from __future__ import annotations

import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVING = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serving"]
FLAGS = dict(flag.removeprefix("--").split("=") for flag in SERVING["command"])

# As TensorFlow Serving publishes them; its Python package has neither.
BATCHING = {
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "pad_variable_length_inputs": (7, "bool"),
    "enable_large_batch_splitting": (8, "BoolValue"),
    "max_execution_batch_size": (9, "Int64Value"),
}
MONITORING = {"enable": (1, "bool"), "path": (2, "string")}


def message(name: str, fields: dict[str, tuple[int, str]]) -> Message:
    """An empty message of a type with these fields: numbers and types, of which wrappers begin with a capital."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="test", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    entry = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
        added = entry.field.add(name=field, number=number, label=1)
        if kind[0].isupper():
            added.type, added.type_name = added.TYPE_MESSAGE, f".google.protobuf.{kind}"
        else:
            added.type = {"bool": added.TYPE_BOOL, "string": added.TYPE_STRING}[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))()


def model_config() -> ModelConfig:
    (config,) = text_format.Parse((DEPLOY / "models.config").read_text(), ModelServerConfig()).model_config_list.config
    return config


def test_models():
    config = model_config()
    assert config.name == "acfnet"
    assert config.base_path.startswith("/models/")
    assert config.model_version_policy.latest.num_versions == 1


def test_the_alternative_in_the_comment_of_models():
    lines = re.findall(r"^ *#   (.*)$", (DEPLOY / "models.config").read_text(), re.MULTILINE)
    config = text_format.Parse("\n".join(lines), ModelConfig())
    assert list(config.model_version_policy.specific.versions) == [1, 2]
    assert dict(config.version_labels) == {"stable": 1, "canary": 2}
    assert FLAGS["allow_version_labels_for_unavailable_models"] == "true"


def test_batching():
    batching = text_format.Parse((DEPLOY / "batching.config").read_text(), message("BatchingParameters", BATCHING))
    assert batching.enable_large_batch_splitting.value
    assert batching.max_execution_batch_size.value == 1  # nothing is merged: a bad image spoils its own request only
    assert batching.max_batch_size.value >= 16


def test_monitoring():
    text = (DEPLOY / "monitoring.config").read_text()
    inner = re.search(r"prometheus_config \{(.*)\}", text, re.DOTALL).group(1)
    monitoring = text_format.Parse(inner, message("PrometheusConfig", MONITORING))
    assert monitoring.enable
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["metrics_path"] == monitoring.path
    assert job["static_configs"] == [{"targets": [f"serving:{FLAGS['rest_api_port']}"]}]


def test_compose():
    assert re.fullmatch(r"tensorflow/serving:2\.\d+\.\d+", SERVING["image"])
    for file in (value for value in FLAGS.values() if value.startswith("/config/")):
        assert (DEPLOY / Path(file).name).is_file()
    assert all(mount.endswith(":ro") for mount in SERVING["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in SERVING["ports"])
    assert SERVING["environment"] == {"TF_ENABLE_ONEDNN_OPTS": "1"}  # a processor without AVX-512 is slow without
    assert FLAGS["tensorflow_intra_op_parallelism"] == SERVING["deploy"]["resources"]["limits"]["cpus"]


class TestHealth:
    @pytest.fixture
    def answers(self) -> dict[str, bytes]:
        """Path → body."""
        return {}

    @pytest.fixture
    def port(self, answers) -> Iterator[int]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = answers.get(self.path)
                self.send_response(200 if body else 404)
                self.end_headers()
                self.wfile.write(body or b'{"error": "Could not find any versions of model"}')

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server.server_port
            server.shutdown()

    def is_healthy(self, port: int) -> bool:
        kind, *command = SERVING["healthcheck"]["test"]
        assert kind == "CMD"
        assert f"/{FLAGS['rest_api_port']} " in command[-1]
        command[-1] = command[-1].replace(f"/{FLAGS['rest_api_port']} ", f"/{port} ")
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    def test_it_asks_for_the_state_of_the_model(self, answers, port):
        path = f"/v1/models/{model_config().name}"
        assert not self.is_healthy(port)
        answers[path] = b'{"model_version_status": [{"version": "1", "state": "LOADING"}]}'
        assert not self.is_healthy(port)
        answers[path] = b'{"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}'
        assert self.is_healthy(port)
