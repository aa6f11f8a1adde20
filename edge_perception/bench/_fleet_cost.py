"""What telemetry costs frames: with and without it, in turns, in one process.

As on a robot whose nodes are all in one process: views are looked at and readings handed over under
the interpreter's lock that frames need; spool and link are a process of their own on the same
cores. Where the model manager is a process beside the encoders, frames share only the cores.

A frame is timed on the wall, less the time that its thread waited for a core (schedstat of Linux):
that is the machine's other work and says nothing of telemetry. What other threads of this process
ran meanwhile is not taken off, as they may be what it waited for.

A core's pace changes by a third from one second to the next where others share it, which no order
of turns evens out. So a small model runs between frames, and each frame is told in units of what
the two runs beside it took of the processor; times of waiting are not in those.

Turns of two seconds come in pairs, one with telemetry and one without, the order drawn anew for
each pair: what drifts, or comes back at a beat of its own, falls on both alike. The figure is p99
of all frames with telemetry over p99 of all without. Frames of one moment are not independent, so
the interval is of a block bootstrap (Künsch, 1989) whose blocks are the pairs.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_READINGS_HZ = 200.0  # ten times what a robot tells
_PAIR = 2  # turns: one with, one without
_SETTLE_S = 0.55  # what was told in the turn before reaches the disk
_TURN_S, _TURN_FRAMES = 2.0, 40  # at least; the disk is written twice a second
_OBJECTS = 25  # of a view
_FRAME, _BESIDE = "bev_lite/camera", "bev_lite/audio"
_DRAWS, _LEAST_PAIRS = 1000, 10
_P99 = 99.0


@dataclass(kw_only=True)
class Turn:
    """Frames of one turn."""

    told: bool
    own_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)  # of the small model, by frame

    @property
    def paced(self) -> NDArray[np.float64]:
        """Frames in units of the small model beside them."""
        return np.array(self.own_s) / np.array(self.beside_s)


def frame_cost(seconds: float) -> dict[str, Any]:
    """Return what telemetry does to p99 of frames, with an interval, and the raw times.

    Where the machine is so busy that there were few pairs, p99 is not told (None).

    Args:
        seconds: of frames, at least; on a busy machine it takes longer.
    """
    turns = list(_turns(seconds))
    return compared(turns) | {
        "raw": [
            {
                "telemetry": turn.told,
                "own_ms": [round(1e3 * v, 4) for v in turn.own_s],
                "wall_ms": [round(1e3 * v, 4) for v in turn.wall_s],
                "beside_ms": [round(1e3 * v, 4) for v in turn.beside_s],
            }
            for turn in turns
        ]
    }


def compared(turns: Sequence[Turn]) -> dict[str, Any]:
    """Return how frames of turns with telemetry compare with those without.

    The interval is that of pairs drawn again with replacement.

    Args:
        turns: whole pairs.
    """
    pairs = [turns[n : n + _PAIR] for n in range(0, len(turns), _PAIR)]
    rng = np.random.default_rng(0)
    drawn = [
        _ratio([t for n in rng.integers(0, len(pairs), len(pairs)) for t in pairs[n]], _P99)
        for _ in range(_DRAWS)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    enough = len(pairs) >= _LEAST_PAIRS  # of fewer no interval says anything
    return {
        "p99_ratio": round(_ratio(turns, _P99), 4) if enough else None,
        "p99_ratio_interval": [round(float(low), 4), round(float(high), 4)] if enough else None,
        "p50_ratio": round(_ratio(turns, 50.0), 4),
        # What telemetry costs the small model would be hidden otherwise.
        "beside_p50_ratio": round(_ratio(turns, 50.0, "beside_s"), 4),
        "wall_p99_ratio": round(_ratio(turns, _P99, "wall_s"), 4),
        "pairs": len(pairs),
        "frames": sum(len(turn.own_s) for turn in turns),
    }


def _ratio(turns: Sequence[Turn], at: float, what: str = "paced") -> float:
    """Return a percentile of all frames with telemetry over that of all without."""
    found = {
        told: np.percentile(np.concatenate([getattr(t, what) for t in turns if t.told is told]), at)
        for told in (True, False)
    }
    return float(found[True] / found[False])


def _turns(seconds: float) -> Iterator[Turn]:
    """Yield whole pairs of turns."""
    infer, close = _model(_FRAME)
    beside, close_beside = _model(_BESIDE)
    try:
        with tempfile.TemporaryDirectory(prefix="bench_spool_") as folder, _telling(folder) as on:
            spent_s, rng = 0.0, np.random.default_rng()
            while spent_s < seconds:
                for told in rng.permutation([True, False]).tolist():
                    turn = Turn(told=told)
                    (on.set if told else on.clear)()
                    _run(infer, beside, Turn(told=told), _SETTLE_S, 1)
                    spent_s += _run(infer, beside, turn, _TURN_S, _TURN_FRAMES)
                    yield turn
    finally:
        close_beside()
        close()


def _run(
    infer: Callable[[], Any],
    beside: Callable[[], Any],
    turn: Turn,
    least_s: float,
    least_frames: int,
) -> float:
    """Run frames, and the small model between them; return how long it took."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    file = os.open(path, os.O_RDONLY) if path.exists() else None
    begun_s = time.perf_counter()
    try:
        before_s = _processor_s(beside)
        while time.perf_counter() < begun_s + least_s or len(turn.own_s) < least_frames:
            waited_s, others_s = _waited_s(file), _others_s()
            at_s = time.perf_counter()
            infer()
            wall_s = time.perf_counter() - at_s
            waited_s, others_s = _waited_s(file) - waited_s, _others_s() - others_s
            turn.wall_s.append(wall_s)
            turn.own_s.append(wall_s - max(waited_s - max(others_s, 0.0), 0.0))
            after_s = _processor_s(beside)
            turn.beside_s.append((before_s + after_s) / 2)
            before_s = after_s
    finally:
        if file is not None:
            os.close(file)
    return time.perf_counter() - begun_s


def _processor_s(run: Callable[[], Any]) -> float:
    """Return what a run takes of the processor, whatever else it waits for."""
    began_s = time.thread_time()
    run()
    return time.thread_time() - began_s


def _waited_s(file: int | None) -> float:
    """Return how long this thread waited for a core so far; 0 where nobody counts."""
    return int(os.pread(file, 100, 0).split()[1]) * 1e-9 if file is not None else 0.0


def _others_s() -> float:
    """Return what the other threads of this process ran so far."""
    return time.process_time() - time.thread_time()


def _model(name: str) -> tuple[Callable[[], Any], Callable[[], None]]:
    """Return runs of a bundled model, on this thread."""
    from edge_perception.backends import BackendOptions, backends, load_model_bytes
    from edge_perception.core.share import share_file
    from edge_perception.models.manifest import load_bundle

    bundle = load_bundle(share_file(f"models/{name}"))
    path = bundle.model_path
    options = BackendOptions(threads=1)
    model = load_model_bytes(backends()["onnxruntime"], path.read_bytes(), path, options)
    inputs = {
        spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in bundle.manifest.inputs
    }
    return lambda: model.infer(inputs), model.close


@contextmanager
def _telling(folder: str) -> Iterator[threading.Event]:
    """Run the telemetry of a robot; it looks at views and tells while the event is set."""
    from edge_perception.fleet.mqtt import BrokerOptions
    from edge_perception.fleet.readings import Reading
    from edge_perception.fleet.telemetry import Telemetry
    from edge_perception.nodes.manager.fleet_views import FleetViews
    from edge_perception.releases.slo import Slo

    telemetry = Telemetry(
        "bench",
        Path(folder) / "spool.db",
        BrokerOptions(url="mqtt://127.0.0.1:9"),  # nobody listens: all goes to the disk
        quota_bytes=2**24,
    )
    on, ended = threading.Event(), threading.Event()
    views, view = FleetViews(Slo, lambda: False), _view()

    def tell() -> None:
        number = 0
        while not ended.wait(1.0 / _READINGS_HZ):
            if on.is_set():
                number += 1
                views.on_view(view, time.monotonic())
                telemetry.tell(Reading(kind="metric", stamp_ns=number, data={"value": number}))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield on
    finally:
        ended.set()
        teller.join()
        telemetry.close()


def _view() -> bytes:
    """Return a serialised view with some objects."""
    from rclpy.serialization import serialize_message

    from edge_perception import msg

    objects = [msg.DetectedObject(class_name="car") for _ in range(_OBJECTS)]
    sources = [msg.SourceStatus(source=name) for name in ("camera", "lidar", "audio")]
    return bytes(serialize_message(msg.FusedPerception(objects=objects, sources=sources)))
