"""A set of models changes at a stamp: fusion never joins features of two sets."""

from dataclasses import replace

import pytest
from fusion_rig import MS, Rig, gaps_ms, make_config, make_feature, times

from edge_perception.core.types import FusionLevel, Mode, ModelVersion
from edge_perception.fusion.model import FusionOutput

PERIODS_MS = {"camera": 50, "lidar": 100, "audio": 100}
END_MS = 5000


class Model:
    def __init__(self, space):
        self.version = ModelVersion(role="fusion", name=space, version="1", sha256=space)
        self.compatible = (space,)

    def misfit(self, feature):
        return ""

    def run(self, features):
        return FusionOutput(objects=())


SETS = (("old",), ("new",))


def run(change_ms, phase_ms, *, exclusive=SETS, told_ms=-500, stays="", end_ms=END_MS, **cycle):
    """Change all sources but `stays`; fusion hears of it `told_ms` after the stamp."""
    old, new = Model("old"), Model("new")
    rig = Rig(make_config("camera", "lidar", "audio", **cycle), models=(old,))
    rig.fusion.set_models((old,), exclusive=exclusive)  # prepared: it may come any time
    start_ns = rig.clock.now().node_ns
    change_ns = start_ns + change_ms * MS

    def deliver(source):
        stamp_ns = rig.clock.now().node_ns - 20 * MS
        feature = make_feature(source, stamp_ns)
        space = "new" if stamp_ns >= change_ns and source != stays else "old"
        rig.offer(replace(feature, model=replace(feature.model, feature_space=space)))

    for source, period_ms in PERIODS_MS.items():
        phase = phase_ms if source == "lidar" else 0
        for moment in times(phase, period_ms, end_ms):
            rig.at(moment + 20, lambda source=source: deliver(source))
    rig.at(
        change_ms + told_ms,
        lambda: rig.fusion.set_models(
            (old, new), exclusive=exclusive, successors=(new, old), from_stamp_ns=change_ns
        ),
    )
    rig.run(end_ms)
    return rig.outputs


def spaces(view):
    return {model.feature_space for model in view.models if model.feature_space}


@pytest.mark.parametrize("change_ms", [3000, 3001, 3010, 3030, 3049, 3050, 3051, 3075, 3099])
@pytest.mark.parametrize("phase_ms", [0, 10, 40, 60])
def test_no_view_of_two_sets_and_the_output_goes_on(change_ms, phase_ms):
    outputs = run(change_ms, phase_ms)
    views = [output.view for output in outputs if output.at_ms > 1500]
    assert all(len(spaces(view)) == 1 for view in views)
    assert all(view.level is FusionLevel.FEATURE for view in views)
    assert all(view.mode is Mode.FULL for view in views)
    changed = [spaces(view) == {"new"} for view in views]
    assert changed == sorted(changed)  # once, and never back
    assert {model.name for model in views[-1].models if model.role == "fusion"} == {"new"}
    assert max(gaps_ms(outputs, 1500, END_MS)) <= 150  # a cycle and a half


def test_spaces_that_do_not_exclude_each_other_are_still_joined():
    views = [output.view for output in run(3030, 0, exclusive=()) if output.at_ms > 1500]
    assert any(len(spaces(view)) == 2 for view in views)


@pytest.mark.parametrize("phase_ms", [0, 40, 60])
@pytest.mark.parametrize("cycle", [{}, {"policy": "fixed_rate"}])
@pytest.mark.parametrize("told_ms", [-500, 300, 1500])
def test_no_view_of_two_sets_where_fusion_hears_late_or_publishes_by_a_timer(
    told_ms, cycle, phase_ms
):
    outputs = run(3030, phase_ms, told_ms=told_ms, **cycle)
    views = [output.view for output in outputs if output.at_ms > 1500]
    assert all(len(spaces(view)) <= 1 for view in views)
    assert spaces(views[-1]) == {"new"}
    assert max(gaps_ms(outputs, 1500, END_MS)) <= 250  # its deadline


def test_where_two_sets_both_go_on_none_of_them_stays_unseen():
    outputs = run(3030, 0, stays="camera", end_ms=10_000)
    early = [o.view for o in outputs if 3300 < o.at_ms < 7500]
    late = [o.view for o in outputs if o.at_ms > 8500]
    assert early
    assert late
    assert all(len(spaces(view)) == 1 for view in early)
    assert all(spaces(view) == {"old", "new"} for view in late)


def test_a_set_may_have_several_spaces():
    together = run(3030, 0, exclusive=(("old", "new"), ("other",)))
    views = [output.view for output in together if output.at_ms > 1500]
    assert any(len(spaces(view)) == 2 for view in views)
