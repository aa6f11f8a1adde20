"""Strict playing keeps few frames on their way and fails on a frame that gives nothing."""

from collections import Counter

import pytest

from edge_perception.recordings.stamps import NS
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding
from edge_perception.validation import live_pacing
from edge_perception.validation.live_pacing import IN_FLIGHT, LiveReplayError, Pacer, StreamLag

BINDING = Binding(inputs={"/lidar/points": "lidar"}, calibrations={})


class Nodes:
    """Sink and listener in one: a frame gives its feature when it is waited for."""

    def __init__(self, *, lost=()):
        self.features, self.published, self.clock = Counter(), 0, []
        self._lost, self.most_on_their_way = lost, 0

    def publish(self, topic, data):
        self.published += 1
        self.most_on_their_way = max(
            self.most_on_their_way, self.published - self.features["lidar"]
        )

    def publish_clock(self, time_ns):
        self.clock.append(time_ns)

    def wait(self, done, timeout_s):
        if not done() and self.published not in self._lost:
            self.features["lidar"] = self.published
        return done()


def play(nodes, *, strict=True):
    pacer = Pacer(nodes, nodes, BINDING, 0, strict=strict)
    for index in range(6):
        time_ns = index * NS // 1000
        message = RecordedMessage(
            topic="/lidar/points", type="", log_time_ns=time_ns, publish_time_ns=0, data=b""
        )
        pacer.send(message)
    pacer.finish()
    return pacer


def test_few_frames_are_on_their_way_and_time_never_goes_back():
    nodes = Nodes()
    pacer = play(nodes)
    assert pacer.sent == {"lidar": 6} == nodes.features
    assert nodes.most_on_their_way <= IN_FLIGHT + 1
    assert nodes.clock == sorted(nodes.clock)


def test_a_frame_that_gives_no_feature_is_an_error(monkeypatch):
    monkeypatch.setattr(live_pacing, "WAIT_S", 0.0)
    with pytest.raises(LiveReplayError, match="lidar: 3 frames sent, 2 features came"):
        play(Nodes(lost=(3,)))


def test_tolerant_goes_on_without_it():
    nodes = Nodes(lost=(6,))
    assert play(nodes, strict=False).sent == {"lidar": 6}


MS = 1_000_000


def stream(lag, *, parts, hop, part_ms=100, window_ms=50):
    """Send parts; each `hop`th gives a feature at once, stamped `window_ms` before its part."""
    for index in range(parts):
        stamp_ns = NS + index * part_ms * MS
        lag.sent(stamp_ns)
        if index % hop == hop - 1:
            lag.came(stamp_ns - window_ms * MS)


@pytest.mark.parametrize("hop", [1, 5])
def test_a_stream_is_behind_only_while_a_feature_is_due(hop):
    lag = StreamLag()
    stream(lag, parts=5 * hop, hop=hop)
    for index in range(hop):
        assert not lag.behind()
        lag.sent(NS + (5 * hop + index) * 100 * MS)
    assert lag.behind()
    lag.came(NS + (6 * hop - 1) * 100 * MS - 50 * MS)
    assert not lag.behind()


def test_a_stream_of_which_parts_give_nothing_is_waited_for_once():
    lag = StreamLag()
    stream(lag, parts=5, hop=1)
    lag.sent(NS + 500 * MS)
    assert lag.behind()
    lag.give_up()
    assert not lag.behind()
