import pytest

from edge_perception.core.clock import FakeClock
from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.player import Player
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.sample_index import SampleIndex
from edge_perception.recordings.schedule import PlayPlan, parse_cut
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.recordings.writer import RecordingWriter, Topic

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


@pytest.mark.parametrize("restamp", [True, False])
def test_samples_are_counted_on_from_loop_to_loop_when_restamped(bench, tmp_path, ros, restamp):
    """A loop is no device that was opened again; as recorded it is what was recorded."""
    from rclpy.serialization import deserialize_message, serialize_message

    from edge_perception.msg import AudioChunk

    path = tmp_path / "audio.mcap"
    with RecordingWriter(path) as writer:
        writer.add_topic(Topic(name="/audio", type="edge_perception/msg/AudioChunk"))
        for number in range(4):
            chunk = AudioChunk(sample_rate=16000, channels=2, format="s16le")
            chunk.header.frame_id = "mic"
            chunk.header.stamp.sec = 1
            chunk.first_sample_index, chunk.data = 700 + 100 * number, bytes(400)
            at_ns = 10**9 + number * 10**8
            writer.write("/audio", serialize_message(chunk), log_time_ns=at_ns)
    indices = []

    def note(_topic, data):
        message = deserialize_message(data, AudioChunk)
        indices.append(message.first_sample_index)
        assert (message.header.frame_id, message.format, len(message.data)) == ("mic", "s16le", 400)

    bench.publish = note
    bench.player(path, PlayPlan(loops=3), restamp=restamp).run()
    recorded = [700, 800, 900, 1000]
    assert indices == (list(range(700, 1900, 100)) if restamp else recorded * 3)


def test_a_chunk_that_cannot_be_read_goes_out_as_it_is():
    samples = SampleIndex()
    for data in (b"", b"\0\1\0\0", bytes(40), b"\0\1\0\0" + b"\xff" * 60):
        assert samples.continued(data, 1) == data


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


@pytest.fixture
def early_path(tmp_path, start_ns, make_cloud):
    """Three messages that came before /clock, at time 0, and ten after it."""
    path = tmp_path / "early.mcap"
    with RecordingWriter(path) as writer:
        writer.add_topic(Topic(name="/lidar/points", type="sensor_msgs/msg/PointCloud2"))
        for index in range(3):
            writer.write("/lidar/points", make_cloud(0), log_time_ns=index)
        for index in range(10):
            stamp_ns = start_ns + index * 100_000_000
            writer.write("/lidar/points", make_cloud(stamp_ns), log_time_ns=stamp_ns + 5_000_000)
    return path


@pytest.mark.parametrize("loops", [1, 2])
def test_what_came_before_the_clock_is_not_waited_for(bench, early_path, loops):
    report = bench.player(early_path, PlayPlan(loops=loops), restamp=True).run()
    assert report.sent == {"/lidar/points": 13 * loops}
    assert report.skipped_s > 1e9
    assert (bench.clock.now().node_ns - NOW_NS) / 1e9 < 3.5 * loops
    ages_ms = [round((now - stamp) / 1e6, 3) for _, now, stamp in bench.sent if stamp]
    assert ages_ms == [5.0] * 10 * loops


def test_the_clock_jumps_with_the_recording(bench, early_path, start_ns):
    bench.player(early_path, clock_hz=100.0).run()
    times_ns = [time_ns for _, time_ns in bench.ticks]
    assert times_ns == sorted(times_ns)
    for _, now_ns, stamp_ns in bench.sent:
        told_ns = max(time_ns for at_ns, time_ns in bench.ticks if at_ns <= now_ns)
        assert stamp_ns == 0 or 0 <= told_ns - stamp_ns <= 15_000_000
