"""Where the inference thread runs."""

import os
import threading
from types import SimpleNamespace

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Instant
from edge_perception.encoders.options import usable_cores
from edge_perception.encoders.worker import EncoderWorker

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="sched_getaffinity: not of this system"
)


class Pipeline:
    source = "camera"
    serving = SimpleNamespace(changing=False)
    place = SimpleNamespace(await_calibration=lambda: None)

    def process(self, job):
        return frozenset(os.sched_getaffinity(0))

    def after(self):
        pass

    def observe(self):
        pass


def test_the_thread_runs_where_it_shall():
    core = frozenset({max(os.sched_getaffinity(0))})
    seen, done = [], threading.Event()

    def sink(found):
        seen.append(found)
        done.set()

    worker = EncoderWorker(pipeline=Pipeline(), sink=sink, on_error=print, cores=core)
    worker.start()
    worker.put(SimpleNamespace(received=Instant(node_ns=0, steady_ns=0)))
    assert done.wait(60)
    worker.stop()
    assert seen == [core]


def test_the_process_keeps_its_cores():
    everywhere = os.sched_getaffinity(0)
    test_the_thread_runs_where_it_shall()
    assert os.sched_getaffinity(0) == everywhere


def test_a_core_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match="4095"):
        usable_cores((0, 4095))
    assert usable_cores(()) == frozenset()
