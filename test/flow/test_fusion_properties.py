"""What holds for every course of events."""

import itertools

from fusion_rig import MS, Rig, make_config, make_feature, times
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_perception.core.types import Mode, SourceState
from edge_perception.fusion.config import CycleConfig

DEADLINE_MS = CycleConfig().deadline_s * 1e3
WINDOW_NS = round(CycleConfig().alignment_window_s * 1e9)
END_MS = 3000

# What an unreliable source may do: (when, how far its stamp is off in ms, valid).
_chaos = st.lists(
    st.tuples(
        st.integers(0, END_MS),
        st.sampled_from([0, 0, 0, -20, -50, -150, -400, -2000, 100, 5000, -(10**9)]),
        st.booleans(),
    ),
    max_size=60,
)
_jitter = st.lists(st.integers(-5, 5), min_size=31, max_size=31)


def _misbehave(rig, source, events):
    for sequence, (at_ms, off_ms, valid) in enumerate(events):

        def offer(sequence=sequence, off_ms=off_ms, valid=valid):
            stamp_ns = max(0, rig.clock.now().node_ns + off_ms * MS)
            reason = "" if valid else f"{source}: image is empty"
            rig.offer(make_feature(source, stamp_ns, sequence=sequence, invalid_reason=reason))

        rig.at(at_ms, offer)


def _check_views(outputs):
    used = {}
    for previous, output in itertools.pairwise(outputs):
        assert output.view.sequence == previous.view.sequence + 1
    for output in outputs:
        view = output.view
        if output.contributors:
            assert view.stamp_ns - view.oldest_stamp_ns <= WINDOW_NS
        else:
            assert view.oldest_stamp_ns == 0
        assert view.valid <= (view.mode >= Mode.DEGRADED)
        assert bool(view.reason) == (view.mode is not Mode.FULL)
        assert (view.mode is Mode.NONE) == (not output.contributors)
        for status in view.sources:
            assert status.state is SourceState.OK or status.reason
            if status.contributed and status.source != "audio":
                used.setdefault(status.source, []).append(view.sequence)
    return used


@settings(max_examples=80)
@given(
    jitter=_jitter,
    latency_ms=st.integers(0, 90),
    phase_ms=st.integers(5, 95),
    lidar=_chaos,
    rear=_chaos,
    audio=_chaos,
)
@example(  # a view before the camera's first frame, which then waits for the other one
    jitter=[0] * 31, latency_ms=41, phase_ms=95, lidar=[(0, 0, True)], rear=[(136, -150, True)],
    audio=[],
)  # fmt: skip
def test_output_never_pauses_longer_than_the_deadline_while_one_source_lives(
    jitter, latency_ms, phase_ms, lidar, rear, audio
):
    rig = Rig(make_config("camera", "camera_rear", "lidar", "audio"))
    moments = [t + j for t, j in zip(times(phase_ms, 100, END_MS), jitter, strict=False)]
    rig.driver("camera", moments, latency_ms=latency_ms)
    for source, events in (("lidar", lidar), ("camera_rear", rear), ("audio", audio)):
        _misbehave(rig, source, events)
    outputs = rig.run(END_MS)
    _check_views(outputs)
    # The camera lives from its first frame on: until then nobody has to be there.
    first_ms = moments[0] + latency_ms
    lived = [first_ms, *(output.at_ms for output in outputs if output.at_ms > first_ms)]
    assert max(b - a for a, b in itertools.pairwise(lived)) <= DEADLINE_MS
    assert outputs[0].at_ms <= 200
    assert END_MS - outputs[-1].at_ms <= DEADLINE_MS


class _Seen:
    """Stands where a fusion model runs, and notes which features it was given."""

    version = make_feature("fusion", 1).model
    compatible = ("a",)

    def __init__(self):
        self.sequences = {}

    def misfit(self, feature):
        return ""

    def run(self, features):
        for source, feature in features.items():
            self.sequences.setdefault(source, []).append(feature.sequence)
        raise RuntimeError("only looking")


@settings(max_examples=80)
@given(camera=_chaos, lidar=_chaos, audio=_chaos)
def test_no_feature_of_a_pacing_source_contributes_twice(camera, lidar, audio):
    seen = _Seen()
    rig = Rig(make_config("camera", "lidar", "audio"), models=(seen,))
    for source, events in (("camera", camera), ("lidar", lidar), ("audio", audio)):
        _misbehave(rig, source, events)
    outputs = rig.run(END_MS + 500)
    _check_views(outputs)
    for source in ("camera", "lidar"):
        sequences = seen.sequences.get(source, [])
        assert len(set(sequences)) == len(sequences)
    # Silence ends in a heartbeat that names everyone, whatever happened before.
    assert outputs[-1].view.mode is Mode.NONE
    assert all(name in outputs[-1].view.reason for name in ("camera: ", "lidar: ", "audio: "))


@settings(max_examples=60)
@given(
    lost=st.lists(st.integers(3, 28), max_size=6, unique=True),
    phase_ms=st.integers(0, 99),
    latencies=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    jitter=_jitter,
)
def test_isolated_lost_frames_raise_nothing(lost, phase_ms, latencies, jitter):
    isolated = [k for i, k in enumerate(sorted(lost)) if not i or k - sorted(lost)[i - 1] > 2]
    rig = Rig(make_config("camera", "lidar"))
    plans = {"camera": 5.0, "lidar": 5.0 + phase_ms}
    for (source, start), latency_ms in zip(plans.items(), latencies, strict=True):
        moments = [t + j for t, j in zip(times(start, 100, END_MS), jitter, strict=False)]
        if source == "lidar":
            moments = [t for k, t in enumerate(moments) if k not in isolated]
        rig.driver(source, moments, latency_ms=latency_ms)
    outputs = [output for output in rig.run(END_MS) if output.at_ms > 600]
    assert {output.view.mode for output in outputs} == {Mode.FULL}
    for output in outputs:
        assert output.state("lidar") is SourceState.OK or output.at_ms < 700
        assert output.contributors == {"camera", "lidar"}
