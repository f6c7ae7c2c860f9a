"""The processes that train together, and what they do together."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from acfnet_tf.errors import ConfigError
from acfnet_tf.replicas import replica_sum


class Workers:
    """The processes that train together, what this one is among them, and the strategy that unites them.

    One process may have several replicas (devices); the workers have the same number of them each.

    Args:
        addresses: host:port of every worker; one entry for a process on its own.
        index: which of them this process is; 0 is the chief, the only one that writes files.
    """

    def __init__(self, strategy: tf.distribute.Strategy, addresses: Sequence[str] = ("",), index: int = 0) -> None:
        self.strategy, self.addresses, self.index = strategy, tuple(addresses), index
        self.count = len(self.addresses)
        self.is_chief = index == 0

    def check_batch(self, batch_size: int) -> None:
        """Raises ConfigError for a global batch that cannot be split evenly."""
        replicas = self.strategy.num_replicas_in_sync
        if batch_size % replicas:
            hint = ", or --set train.strategy=one_device" if self.count == 1 else ""
            raise ConfigError(
                f"train.batch_size = {batch_size}, the batch of all devices together, cannot be shared evenly by "
                f"{replicas} devices; choose a multiple{hint}"
            )

    def part_of(self, items: Sequence) -> Sequence:
        """This worker's part of the items; those of all workers are disjoint and make up the whole."""
        return items[self.index :: self.count]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of the workers' arrays, in the dtype given (int64 is exact). All workers must call it."""
        if self.count == 1:
            return values
        return self._sum(tf.convert_to_tensor(values)).numpy()

    def gather(self, value: int) -> np.ndarray:
        """The workers' numbers, (count,) int64. All workers must call it."""
        values = np.zeros(self.count, np.int64)
        values[self.index] = value
        return self.sum(values)

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Lets the chief go first through what makes files for all: on a common disk, once is enough."""
        if not self.is_chief:
            self.gather(0)
        yield
        if self.is_chief:
            self.gather(0)

    def from_chief(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The chief's arrays, bit by bit, on all workers. All must call it, with the same shapes and dtypes."""
        raw = b"".join(value.tobytes() for value in values)
        raw = np.frombuffer(raw + bytes(-len(raw) % 8), np.int64)
        raw = self.sum(raw if self.is_chief else np.zeros_like(raw)).tobytes()
        ends = np.cumsum([value.nbytes for value in values])
        return [
            np.frombuffer(raw[end - value.nbytes : end], value.dtype).reshape(value.shape)
            for value, end in zip(values, ends, strict=True)
        ]

    def text_from_chief(self, text: str) -> str:
        """The chief's text, of 64 KiB at most, on all workers. All must call it."""
        (received,) = self.from_chief([np.array(text.encode(), "S65536")])
        return received.item().decode()

    def check_agreement(self, **facts: Any) -> None:
        """Makes sure that all workers were started alike.

        Args:
            **facts: what must be the same on all, for instance settings=..., by the name that the user knows it by.

        Raises:
            ConfigError: on every worker, and says which fact differs and where.
        """
        for name, fact in facts.items():
            digests = self.gather(int.from_bytes(hashlib.sha256(repr(fact).encode()).digest()[:7], "big"))
            others = [self.addresses[i] for i in range(self.count) if digests[i] != digests[0]]
            if others:
                raise ConfigError(f"the {name} of {', '.join(others)} differ from those of {self.addresses[0]}")

    @tf.function(autograph=False)
    def _sum(self, values: tf.Tensor) -> tf.Tensor:
        replicas = self.strategy.num_replicas_in_sync // self.count

        def of_first_replica() -> tf.Tensor:
            first = tf.distribute.get_replica_context().replica_id_in_sync_group % replicas == 0
            return replica_sum(tf.where(first, values, tf.zeros_like(values)))

        return self.strategy.experimental_local_results(self.strategy.run(of_first_replica))[0]
