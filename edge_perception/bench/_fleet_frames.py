"""What telemetry costs frames, and what a delta of real models is of the whole."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK_S = 0.5  # with and without, in turns
_READINGS_HZ = 200.0  # ten times what a robot tells
_SMALL = 60_000  # bytes of a virtual robot's model


def moved_model(share: float, seed: int) -> bytes:
    """Return a small model of which the last share of the weights moved."""
    moved = round(_SMALL * share)
    kept = random.Random(1).randbytes(_SMALL - moved)
    return kept + random.Random(seed + 1).randbytes(moved)


def delta_shares() -> dict[str, float]:
    """Return what deltas of the camera model are of the whole, by what moved.

    Those of the model file, and those of the archive: its golden outputs are new too.
    """
    from edge_perception.core.share import share_file
    from edge_perception.fleet.delta import make_delta
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.archive import pack
    from edge_perception.releases.repacking import repack

    found = {}
    source = load_bundle(share_file("models/bev_lite/camera"))
    with tempfile.TemporaryDirectory(prefix="bench_delta_") as folder:
        base = pack(source, Path(folder) / "base")
        for name, share in (("last_third", 1 / 3), ("everything", 1.0)):
            bundle = repack(
                source,
                Path(folder) / name,
                changes={"version": "9.9.9", "release": 999},
                edit=lambda model, share=share: _move(model, share),
            )
            archive = pack(bundle, Path(folder) / f"{name}.bundle")
            pairs = {name: (source.model_path, bundle.model_path)}
            pairs[f"{name}, archive"] = (base, archive)
            for what, (old, new) in pairs.items():
                delta = make_delta(old, new, Path(folder) / "patch")
                found[what] = round(min(delta / new.stat().st_size, 1.0), 4)
    return found


def _move(model: Any, share: float) -> None:
    """Add to the last share of the weights a hundredth of what they vary by."""
    from onnx import numpy_helper

    rng = np.random.default_rng(1)
    weights = [item for item in model.graph.initializer if item.data_type == 1]
    left = round(sum(numpy_helper.to_array(item).size for item in weights) * share)
    for item in reversed(weights):
        values = numpy_helper.to_array(item).copy()
        flat = values.reshape(-1)
        count = min(left, flat.size)
        noise = rng.normal(0.0, 0.01 * float(values.std()), count)
        flat[flat.size - count :] += noise.astype(np.float32)
        item.CopyFrom(numpy_helper.from_array(values, item.name))
        left -= count
        if left <= 0:
            return


def frame_p99_ratio(seconds: float) -> float:
    """Return p99 of frames with telemetry over that without; in turns, in one process."""
    from edge_perception.backends import BackendOptions, backends, load_model_bytes
    from edge_perception.core.share import share_file
    from edge_perception.fleet.mqtt import BrokerOptions
    from edge_perception.fleet.readings import Reading
    from edge_perception.fleet.telemetry import Telemetry
    from edge_perception.models.manifest import load_bundle

    bundle = load_bundle(share_file("models/bev_lite/camera"))
    path = bundle.model_path
    runtime = backends()["onnxruntime"]
    model = load_model_bytes(runtime, path.read_bytes(), path, BackendOptions())
    inputs = {
        spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in bundle.manifest.inputs
    }
    with tempfile.TemporaryDirectory(prefix="bench_spool_") as folder:
        telemetry = Telemetry(
            "bench",
            Path(folder) / "spool.db",
            BrokerOptions(url="mqtt://127.0.0.1:9"),  # nobody listens: all goes to the disk
            quota_bytes=2**24,
            steady_s=time.monotonic,
        )
        on, ended = threading.Event(), threading.Event()

        def tell() -> None:
            number = 0
            while not ended.wait(1.0 / _READINGS_HZ):
                if on.is_set():
                    number += 1
                    telemetry.tell(Reading(kind="metric", stamp_ns=number, data={"value": number}))

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        times: dict[bool, list[float]] = {True: [], False: []}
        end_s = time.monotonic() + seconds
        turn = 0
        try:
            while time.monotonic() < end_s:
                with_it = bool(turn % 2)
                turn += 1
                (on.set if with_it else on.clear)()
                until_s = time.monotonic() + _BLOCK_S
                while (begin_s := time.perf_counter()) and time.monotonic() < until_s:
                    model.infer(inputs)
                    times[with_it].append(time.perf_counter() - begin_s)
        finally:
            ended.set()
            teller.join()
            telemetry.close()
            model.close()
    p99 = {key: float(np.percentile(values, 99)) for key, values in times.items()}
    return p99[True] / p99[False]
