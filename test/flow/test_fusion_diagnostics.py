"""What diagnostics say of fusion over seconds of virtual time, asked ten times a second."""

import pytest
from fusion_rig import MS, Rig, make_config, times

from edge_perception.core.health import Level, Report
from edge_perception.nodes.fusion.health import FusionHealth

SOURCES = ("camera", "lidar", "audio")
PERIOD_MS = 100


class Said:
    """Asks fusion's health every 100 ms from a phase on, and keeps what would be published."""

    def __init__(self, rig, phase_ms, end_ms):
        self.rig, self.health, self.report = rig, FusionHealth(), Report(repeat_s=0.95)
        self.views = 0
        self.lines = []  # (ms, name, level, ms since the source was heard)
        for ms in times(phase_ms, PERIOD_MS, end_ms):
            rig.at(ms, self.check)

    def check(self):
        now, rig = self.rig.clock.now(), self.rig
        for output in rig.outputs[self.views :]:
            instant = type(now)(node_ns=now.node_ns, steady_ns=round(output.at_ms * MS))
            self.health.on_view(output.view, missed=0, now=instant)
        self.views = len(rig.outputs)
        heard_ns = rig.fusion.last_arrivals_ns()
        health = self.health.judge(rig.config, heard_ns, now, rig.fusion.counters)
        for name, part in self.report.step(
            {"fusion": health, **health.parts}, now.steady_ns
        ).items():
            heard = heard_ns.get(name, min(heard_ns.values(), default=0))
            silence_ms = (now.steady_ns - heard) / MS
            self.lines.append((now.steady_ns / MS, name, part.level, silence_ms))


def drive(rig, end_ms, *, dead=(), lose_one=False):
    for index, name in enumerate(SOURCES):
        moments = times(index * 30, PERIOD_MS, end_ms)
        if name in dead:
            moments = [ms for ms in moments if ms < 5000]
        if lose_one and name != "audio":
            moments = [ms for number, ms in enumerate(moments) if number % 10 != 4 + index]
        rig.driver(name, moments, latency_ms=15)


@pytest.mark.parametrize("phase_ms", [3, 20, 44, 50, 77, 99])
def test_ok_is_said_of_each_source_on_fresh_evidence_and_nothing_else_is(phase_ms):
    rig = Rig(make_config(*SOURCES))
    drive(rig, 20000, lose_one=True)
    said = Said(rig, phase_ms, 20000)
    rig.run(20000)
    later = [line for line in said.lines if line[0] > 2000]
    assert {level for _, _, level, _ in later} == {Level.OK}
    assert max(silence for _, _, _, silence in later) <= PERIOD_MS
    for name in ("fusion", *SOURCES):
        assert sum(line[1] == name for line in later) >= 14, "about once a second"


@pytest.mark.parametrize("phase_ms", [3, 50, 99])
@pytest.mark.parametrize("dead", SOURCES)
def test_a_dead_source_is_never_called_ok_again(dead, phase_ms):
    rig = Rig(make_config(*SOURCES))
    drive(rig, 8000, dead=(dead,))
    said = Said(rig, phase_ms, 8000)
    rig.run(8000)
    first_missing_ms = 5000 + 30 * SOURCES.index(dead)
    after = [line for line in said.lines if line[0] > first_missing_ms + 15]
    assert all(level is not Level.OK for _, name, level, _ in after if name in (dead, "fusion"))
    named = [ms for ms, name, level, _ in after if name == dead and level is not Level.OK]
    assert named[0] - first_missing_ms <= 200 + PERIOD_MS, "and one check"
