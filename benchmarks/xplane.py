"""Which operations a profile of TensorFlow's shows to take the time, without TensorBoard and its plugin.

    python benchmarks/xplane.py FOLDER        # that of train_step.py --profile, or of any tf.profiler

On a GPU twice: by kernel, and by the operation of TensorFlow that started it. Without one, by operation of the CPU.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

MOST = 15
"""Operations that are listed."""


def largest(folder: str | Path) -> list[str]:
    """Lines of text: how long the device was busy, and what took most of it.

    Raises:
        FileNotFoundError: there is no profile in the folder.
    """
    files = sorted(Path(folder).glob("plugins/profile/*/*.xplane.pb"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no profile (plugins/profile/*/*.xplane.pb)")
    # TensorFlow brings the format of the files, but nothing that reads them.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(files[-1].read_bytes())
    planes = [plane for plane in space.planes if plane.name.startswith("/device:GPU:")]
    planes = planes or [plane for plane in space.planes if plane.name == "/host:CPU"]
    return [line for plane in planes for line in _largest_of(plane)]


def _largest_of(plane: Any) -> Iterator[str]:
    # Beside what the streams of a GPU did, there can be lines that sum it up.
    lines = [line for line in plane.lines if line.name.startswith("Stream")] or plane.lines
    times: dict[str, Counter] = defaultdict(Counter)
    counts: dict[str, Counter] = defaultdict(Counter)
    spans = []
    for line in lines:
        begin = line.timestamp_ns * 1000
        for event, own in _self_times(line.events):
            names = _names(plane, event)
            if names:
                spans.append((begin + event.offset_ps, begin + event.offset_ps + event.duration_ps))
            for kind, name in names.items():
                times[kind][name] += own
                counts[kind][name] += 1
    if not spans:
        return
    span = max(end for _, end in spans) - min(start for start, _ in spans)
    busy = _covered(spans)
    yield f"{plane.name}: {len(spans):,} events in {span / 1e9:,.1f} ms; in {busy / 1e9:,.1f} ms of them at least one"
    for kind in times:
        total = sum(times[kind].values())
        yield ""
        yield f"| {kind} | count | self ms | of {total / 1e9:,.1f} ms |"
        yield "|---|---|---|---|"
        for name, own in times[kind].most_common(MOST):
            yield f"| {name} | {counts[kind][name]:,} | {own / 1e9:,.2f} | {own / max(total, 1):.1%} |"


def _names(plane: Any, event: Any) -> dict[str, str]:
    """What an event is to be counted as: a kernel and the operation that it is of, or an operation."""
    metadata = plane.event_metadata[event.metadata_id]
    if plane.name == "/host:CPU":
        # The names of operations are "path:type", and they are displayed by their type; other events have no such.
        return {"operation": metadata.display_name} if metadata.display_name else {}
    names = {"kernel": (metadata.display_name or metadata.name).replace("|", "/")[:100]}
    for stat in event.stats:
        if plane.stat_metadata[stat.metadata_id].name == "tf_op":
            text = stat.str_value or plane.stat_metadata[stat.ref_value].name
            names["operation"] = text.rpartition(":")[2]
    return names


def _self_times(events: Iterable[Any]) -> Iterator[tuple[Any, int]]:
    """Each event of a line, and its picoseconds without those of the events within it."""
    open_events: list[list] = []  # [event, its end, time of those within]
    for event in sorted(events, key=lambda event: (event.offset_ps, -event.duration_ps)):
        while open_events and open_events[-1][1] <= event.offset_ps:
            yield _closed(open_events)
        if open_events:
            open_events[-1][2] += event.duration_ps
        open_events.append([event, event.offset_ps + event.duration_ps, 0])
    while open_events:
        yield _closed(open_events)


def _closed(open_events: list[list]) -> tuple[Any, int]:
    event, _, within = open_events.pop()
    return event, max(0, event.duration_ps - within)


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    """The time in which at least one of them lasts."""
    covered, last = 0, 0
    for start, end in sorted(spans):
        covered += max(0, end - max(start, last))
        last = max(last, end)
    return covered


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        print("\n".join(largest(sys.argv[1])))
    except FileNotFoundError as error:
        sys.exit(str(error))
