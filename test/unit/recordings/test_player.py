import pytest

from edge_perception.core.clock import FakeClock
from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.player import Player
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.schedule import PlayPlan, parse_cut
from edge_perception.recordings.stamps import read_stamp_ns

NOW_NS = 1_900_000_000_000_000_000


class Bench:
    """A sink that notes what it gets, and a clock that moves only by waiting."""

    def __init__(self):
        self.clock = FakeClock(node_ns=NOW_NS)
        self.sent = []
        self.ticks = []

    def publish(self, topic, data):
        self.sent.append((topic, self.clock.now().node_ns, read_stamp_ns(data)))

    def publish_clock(self, time_ns):
        self.ticks.append((self.clock.now().node_ns, time_ns))

    def player(self, path, plan=None, **options):
        return Player(
            Recording(path),
            plan or PlayPlan(),
            self,
            clock=self.clock,
            wait=self.clock.advance,
            **options,
        )


@pytest.fixture
def bench():
    return Bench()


def test_restamped_messages_keep_their_age_at_arrival(bench, recording_path):
    report = bench.player(recording_path, restamp=True).run()
    ages_ms = {
        topic: {round((now - stamp) / 1e6, 3) for t, now, stamp in bench.sent if t == topic}
        for topic in ("/lidar/points", "/audio")
    }
    assert ages_ms == {"/lidar/points": {5.0}, "/audio": {6.0}}
    assert report.sent == {"/lidar/points": 20, "/audio": 20}
    assert report.late == 0
    recorded = [read_stamp_ns(m.data) for m in Recording(recording_path).messages()]
    assert [report.stamps.to_recorded(stamp) for _, _, stamp in bench.sent] == pytest.approx(
        recorded, abs=8
    )


def test_looped_stamps_never_go_back_when_restamped(bench, recording_path):
    bench.player(recording_path, PlayPlan(loops=3), restamp=True).run()
    stamps = [stamp for topic, _, stamp in bench.sent if topic == "/lidar/points"]
    assert len(stamps) == 60
    assert stamps == sorted(set(stamps))


def test_stamps_stay_as_recorded_with_the_clock_going_along(bench, recording_path, start_ns):
    report = bench.player(recording_path, clock_hz=50.0).run()
    assert report.stamps is None
    assert bench.sent[0][2] == start_ns
    assert len(bench.ticks) == pytest.approx(96, abs=1)
    for now_ns, time_ns in bench.ticks:
        assert time_ns - Recording(recording_path).start_ns == pytest.approx(
            now_ns - NOW_NS, abs=100
        )
    # a message is never ahead of the clock by more than a tick
    assert all(
        any(tick <= now for tick, _ in bench.ticks[: index + 1])
        for index, (_, now, _) in enumerate(bench.sent[:5])
    )


def test_both_kinds_of_time_at_once_are_refused(bench, recording_path):
    with pytest.raises(ConfigurationError, match="either restamping or /clock"):
        bench.player(recording_path, restamp=True, clock_hz=10.0)


def test_a_cut_is_reported_with_its_start_and_the_return(bench, recording_path):
    plan = PlayPlan(cuts=(parse_cut("lidar:0.5-1"),))
    report = bench.player(recording_path, plan, restamp=True).run()
    assert report.sent == {"/lidar/points": 15, "/audio": 20}
    assert report.withheld == {"/lidar/points": 5}
    (event,) = report.cuts
    assert (event.first_missing_ns - NOW_NS) / 1e9 == pytest.approx(0.5, abs=1e-6)
    assert (event.returned_ns - NOW_NS) / 1e9 == pytest.approx(1.0, abs=1e-6)


def test_a_slow_receiver_is_counted_as_lateness(bench, recording_path):
    publish = bench.publish

    def slow(topic, data):
        publish(topic, data)
        bench.clock.advance(0.15)

    bench.publish = slow
    report = bench.player(recording_path).run()
    assert report.late > 0
    assert report.worst_lateness_s > 1.0


def test_stop_ends_an_endless_loop(bench, recording_path):
    player = bench.player(recording_path, PlayPlan(loops=0))
    publish = bench.publish

    def publish_and_stop(topic, data):
        publish(topic, data)
        if len(bench.sent) == 50:
            player.stop()

    bench.publish = publish_and_stop
    player.run()
    assert len(bench.sent) == 50
