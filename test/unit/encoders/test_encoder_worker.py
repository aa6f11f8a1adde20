"""What waits for a busy inference thread: the newest frame, and one more while models change."""

import threading
from types import SimpleNamespace

import pytest

from edge_perception.encoders.worker import EncoderWorker


class BusyPipeline:
    """Holds the first frame until it is told to go on."""

    source = "camera"

    def __init__(self, changing):
        self.serving = SimpleNamespace(changing=changing)
        self.started, self.go_on = threading.Event(), threading.Event()

    def process(self, job):
        self.started.set()
        self.go_on.wait(10.0)
        return job

    def after(self):
        pass


@pytest.mark.parametrize(("changing", "expected"), [(False, [0, 3]), (True, [0, 2, 3])])
def test_a_frame_that_came_while_a_model_was_loaded_is_late_but_not_lost(changing, expected):
    pipeline, done, seen = BusyPipeline(changing), threading.Event(), []

    def sink(feature):
        seen.append(feature.number)
        if feature.number == 3:
            done.set()

    worker = EncoderWorker(pipeline=pipeline, sink=sink, on_error=print)
    worker.start()
    worker.put(SimpleNamespace(number=0))
    assert pipeline.started.wait(10.0)
    for number in (1, 2, 3):
        worker.put(SimpleNamespace(number=number))
    pipeline.go_on.set()
    assert done.wait(10.0)
    worker.stop()
    assert seen == expected
    assert worker.dropped == 4 - len(expected)
