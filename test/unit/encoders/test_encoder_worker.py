"""While models change frames wait, for a bounded time; else the newest wins at once."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from edge_perception.core.types import Instant
from edge_perception.encoders import worker as worker_module
from edge_perception.encoders.serving import Job
from edge_perception.encoders.worker import EncoderWorker


def job(number, period_ms):
    received = Instant(node_ns=0, steady_ns=10**9 + number * period_ms * 10**6)
    return Job(stamp_ns=number, frame_id="", received=received, items=())


@pytest.mark.parametrize(
    ("changing", "period_ms", "kept"),
    [
        (False, 50, [9]),
        (True, 50, [5, 6, 7, 8, 9]),  # 0.2 s and the newest
        (True, 100, [7, 8, 9]),
        (True, 1000, [8, 9]),
        (True, 1, [3, 4, 5, 6, 7, 8, 9]),  # bounded in number, too
    ],
)
def test_how_long_a_frame_waits(changing, period_ms, kept, monkeypatch):
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
        process=process,
        after=lambda: None,
        observe=lambda: None,
    )
    worker = EncoderWorker(pipeline=pipeline, sink=None, on_error=seen.append)
    for number in range(10):  # before the thread runs: it is as good as stalled
        worker.put(job(number, period_ms))
    worker.start()
    assert done.wait(10)
    worker.stop()
    assert seen == kept
    assert worker.dropped == 10 - len(kept)
