"""Frames wait while models change, and the first for its calibration, for a bounded time."""

from __future__ import annotations

import queue
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from edge_perception.core.types import Geometry, Instant
from edge_perception.encoders import place as place_module
from edge_perception.encoders import worker as worker_module
from edge_perception.encoders.place import SensorPlace
from edge_perception.encoders.serving import Job
from edge_perception.encoders.worker import EncoderWorker


def job(number, period_ms):
    received = Instant(node_ns=0, steady_ns=10**9 + number * period_ms * 10**6)
    return Job(stamp_ns=number, frame_id="", received=received, items=())


@pytest.mark.parametrize(
    ("changing", "period_ms", "queue_frames", "kept"),
    [
        (False, 50, 1, [9]),
        (False, 50, 4, [6, 7, 8, 9]),
        (False, 50, 1000, list(range(10))),  # as strict playing asks for: none is lost
        (True, 50, 1, [5, 6, 7, 8, 9]),  # 0.2 s and the newest
        (True, 100, 1, [7, 8, 9]),
        (True, 1000, 1, [8, 9]),
        (True, 1, 1, [3, 4, 5, 6, 7, 8, 9]),  # bounded in number, too
        (True, 100, 3, [5, 6, 7, 8, 9]),
    ],
)
def test_how_long_a_frame_waits(changing, period_ms, queue_frames, kept, monkeypatch):
    monkeypatch.setattr(worker_module, "under_way", lambda: False)
    seen, done = [], threading.Event()

    def process(job_):
        seen.append(job_.stamp_ns)
        if job_.stamp_ns == 9:
            done.set()

    serving = SimpleNamespace(changing=changing)
    pipeline = SimpleNamespace(
        source="camera",
        serving=serving,
        place=SimpleNamespace(await_calibration=lambda: None),
        process=process,
        after=lambda: None,
        observe=lambda: None,
    )
    worker = EncoderWorker(
        pipeline=pipeline, sink=None, on_error=seen.append, queue_frames=queue_frames
    )
    for number in range(10):  # before the thread runs: it is as good as stalled
        worker.put(job(number, period_ms))
    worker.start()
    assert done.wait(60)
    worker.stop()
    assert seen == kept
    assert pipeline.dropped() == 10 - len(kept)


class Told(SimpleNamespace):
    """A pipeline whose frames need the calibration that its place keeps."""

    def __init__(self, found):
        spec = SimpleNamespace(
            calibration="camera_info", calibration_of=lambda message, topics: message
        )
        place = SensorPlace(spec, Geometry(T_base_sensor=np.eye(4)), None)
        super().__init__(
            source="camera",
            serving=SimpleNamespace(changing=False),
            place=place,
            process=lambda _: found.put(place.calibrated.intrinsics is not None),
            after=lambda: None,
            observe=lambda: None,
        )


CALIBRATED = Geometry(
    T_base_sensor=np.eye(4), intrinsics=np.eye(3, dtype=np.float64), image_size=(4, 3)
)


def test_one_late_callback_pushes_out_only_what_is_too_old(monkeypatch):
    monkeypatch.setattr(worker_module, "under_way", lambda: False)
    pipeline = SimpleNamespace(source="camera", serving=SimpleNamespace(changing=True))
    worker = EncoderWorker(pipeline=pipeline, sink=None, on_error=None)
    for at_ms in (0, 50, 100, 190):
        worker.put(job(at_ms, 1))
    assert pipeline.dropped() == 0
    worker.put(job(240, 1))
    assert pipeline.dropped() == 1


def test_the_first_frame_waits_for_its_calibration():
    found = queue.Queue()
    pipeline = Told(found)
    worker = EncoderWorker(pipeline=pipeline, sink=None, on_error=found.put)
    worker.start()
    worker.put(job(0, 100))
    with pytest.raises(queue.Empty):
        found.get(timeout=0.05)
    pipeline.place.calibrate(CALIBRATED)
    assert found.get(timeout=60) is True
    worker.stop()


def test_whoever_sends_no_calibration_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(place_module, "FIRST_CALIBRATION_S", 0.01)
    found = queue.Queue()
    worker = EncoderWorker(pipeline=Told(found), sink=None, on_error=found.put)
    worker.start()
    worker.put(job(0, 100))
    assert found.get(timeout=60) is False
    monkeypatch.setattr(place_module, "FIRST_CALIBRATION_S", 1000.0)
    worker.put(job(1, 100))
    assert found.get(timeout=60) is False
    worker.stop()


class Stalling(SimpleNamespace):
    """A pipeline that serves a frame whenever the test says so."""

    def __init__(self):
        self.go, self.served = threading.Semaphore(0), queue.Queue()
        super().__init__(
            source="camera",
            serving=SimpleNamespace(changing=True),
            place=SimpleNamespace(await_calibration=lambda: None),
            process=self._process,
            after=lambda: None,
            observe=lambda: None,
        )

    def _process(self, job_):
        self.go.acquire()
        self.served.put(job_.stamp_ns)

    def serve(self, count):
        self.go.release(count)
        return [self.served.get(timeout=60) for _ in range(count)]


def stalled_worker(monkeypatch, frames, **options):
    """Return a worker with `frames` of 20 Hz that wait for the one in work; the change is over."""
    monkeypatch.setattr(worker_module, "under_way", lambda: False)
    pipeline = Stalling()
    worker = EncoderWorker(pipeline=pipeline, sink=None, on_error=None, **options)
    worker.start()
    worker.put(job(0, 50))
    waited = time.monotonic() + 60
    while not worker.busy_s():  # frame 0 is in work
        assert time.monotonic() < waited
    for number in range(1, frames + 1):
        worker.put(job(number, 50))
    pipeline.serving.changing = False
    return worker, pipeline


def test_what_waited_is_served_after_the_change_too(monkeypatch):
    worker, pipeline = stalled_worker(monkeypatch, 4)
    seen = []
    for number in range(5, 12):  # two frames of work for three that come: it keeps up
        worker.put(job(number, 50))
        seen += pipeline.serve(2 if number % 2 else 1)
    left = 12 - len(seen)
    seen += pipeline.serve(left)
    assert seen == list(range(12))
    assert pipeline.dropped() == 0
    worker.stop()


def test_after_a_change_no_queue_stays_where_the_encoder_does_not_keep_up(monkeypatch):
    worker, pipeline = stalled_worker(monkeypatch, 4)
    for number in range(5, 25):  # nothing is served
        worker.put(job(number, 50))
    assert pipeline.serve(2) == [0, 24]
    assert pipeline.dropped() == 23
    worker.stop()


def test_what_may_wait_does_not_grow_after_a_change(monkeypatch):
    worker, pipeline = stalled_worker(monkeypatch, 4)
    assert pipeline.serve(4) == [0, 1, 2, 3]
    for number in range(5, 9):  # frame 4 is in work, and the queue is empty
        worker.put(job(number, 50))
    assert pipeline.serve(2) == [4, 8]
    assert pipeline.dropped() == 3
    worker.stop()


def test_a_configured_queue_outlives_the_change(monkeypatch):
    worker, pipeline = stalled_worker(monkeypatch, 4, queue_frames=3)
    for number in range(5, 40):
        worker.put(job(number, 50))
    assert pipeline.serve(4) == [0, 37, 38, 39]
    worker.stop()


def test_what_asks_for_the_end_of_a_thread_does_not_get_it():
    """`exit()` somewhere in code of others, or a panic in Rust: no Exception, and no frame's."""
    found = queue.Queue()
    pipeline = Told(found)

    def process(job_):
        if job_.stamp_ns == 0:
            raise SystemExit(3)
        found.put(job_.stamp_ns)

    pipeline.process = process
    worker = EncoderWorker(pipeline=pipeline, sink=None, on_error=found.put)
    pipeline.place.calibrate(CALIBRATED)
    worker.start()
    worker.put(job(0, 100))
    assert isinstance(found.get(timeout=60), SystemExit)
    worker.put(job(1, 100))
    assert found.get(timeout=60) == 1
    worker.stop()
