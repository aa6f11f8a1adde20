"""The bare models in a loop without ROS: on ready inputs, and on the recording.

On ready inputs there is `infer` and nothing else. On the recording each set is preprocessed,
inferred and decoded, by the code that the nodes run too.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from edge_perception.bench._models import Models
from edge_perception.bench._recording import load_clip, load_poses
from edge_perception.bench._role import serve
from edge_perception.nodes.topics import raw

PERIOD_S = 0.1


class BareModels:
    """Ways to use two cores: encoders beside each other, or each model on two threads."""

    def __init__(self, folder: Path) -> None:
        self._models = {threads: Models(load_poses(folder), threads=threads) for threads in (1, 2)}
        clip = load_clip(folder)
        info = raw.reader("sensor_msgs/msg/CameraInfo")(clip.camera_info)
        for models in self._models.values():
            models.calibrate(info)
        self._inputs = self._models[1].graph_inputs(
            raw.reader("sensor_msgs/msg/Image")(clip.images[0]),
            raw.reader("sensor_msgs/msg/PointCloud2")(clip.clouds[0]),
        )
        image_of, cloud_of = (
            raw.reader("sensor_msgs/msg/Image"),
            raw.reader("sensor_msgs/msg/PointCloud2"),
        )
        sets = zip(itertools.cycle(clip.images), itertools.cycle(clip.clouds))
        self._recording = ((image_of(image), cloud_of(cloud)) for image, cloud in sets)
        self._pool = ThreadPoolExecutor(2)
        self._ways: dict[str, Callable[[], None]] = {
            "beside": self._beside,
            "two threads": self._one_after_another,
            "recording": self._on_recording,
        }

    def _beside(self) -> None:
        camera = self._pool.submit(self._infer, 1, "camera")
        self._infer(1, "lidar")
        self._infer(1, "audio")
        camera.result()
        self._infer(1, "fusion")

    def _one_after_another(self) -> None:
        for name in ("camera", "lidar", "audio", "fusion"):
            self._infer(2, name)

    def _on_recording(self) -> None:
        image, cloud = next(self._recording)
        models = self._models[1]
        camera = self._pool.submit(models.encode, "camera", image)
        lidar = models.encode("lidar", cloud)
        self._infer(1, "audio")
        models.join({"camera": camera.result(), "lidar": lidar})

    def _infer(self, threads: int, name: str) -> None:
        self._models[threads].loaded[name].backend.infer(self._inputs[name])

    def paced(self, seconds: float) -> dict[str, list[float]]:
        """Return how long a set takes at 10 Hz, ms: encoders beside each other, then fusion."""
        found: dict[str, list[float]] = {}
        for name, run in (("took_ms", self._beside), ("recording_ms", self._on_recording)):
            took = found[name] = []
            start = time.monotonic()
            for number in range(round(seconds / PERIOD_S / 2)):
                time.sleep(max(0.0, start + number * PERIOD_S - time.monotonic()))
                begin = time.perf_counter()
                run()
                took.append(round((time.perf_counter() - begin) * 1e3, 3))
        return found

    def saturated(self, seconds: float) -> dict[str, float]:
        """Return sets a second of each way."""
        rates: dict[str, float] = {}
        for name, run in self._ways.items():
            count, start = 0, time.monotonic()
            while time.monotonic() < start + seconds / len(self._ways):
                run()
                count += 1
            rates[name] = count / (time.monotonic() - start)
        return rates

    def ready(self) -> dict[str, Any]:
        """Return the messages the inputs were made of, as a sign of life."""
        return {"types": [cls.__name__ for cls in (Image, PointCloud2, CameraInfo)]}


def main() -> None:
    """Serve: FOLDER of the clip."""
    bare = BareModels(Path(sys.argv[1]))
    serve({"ready": bare.ready, "paced": bare.paced, "saturated": bare.saturated})


if __name__ == "__main__":
    main()
