"""Which level is used, why, and what a fusion model's failure costs."""

import dataclasses

import pytest
from fusion_scene import box, camera, lidar, seen, surface

from edge_perception.core.types import (
    ClosedBy,
    Feature,
    FusionLevel,
    Mode,
    ModelVersion,
    SoundEvent,
)
from edge_perception.encoders import source_defaults
from edge_perception.fusion.config import FusionConfig, SourceConfig
from edge_perception.fusion.cycle import Cycle
from edge_perception.fusion.hybrid import fuse_cycle
from edge_perception.fusion.model import FusionOutput

CONFIG = FusionConfig(
    sources=tuple(SourceConfig(**source_defaults(name)) for name in ("camera", "lidar", "audio"))
)
CAR, GHOST = box(20.0, 2.0, score=0.9), box(40.0, -3.0, score=0.5)
SIREN = SoundEvent(
    class_name="siren", score=0.9, window_start_ns=1, window_end_ns=2, source="audio"
)


class Model:
    """Returns what it was made with and remembers what it was given."""

    def __init__(self, *, name="fuser", compatible=("a",), output=None, error=None, odd=()):
        self.version = ModelVersion(role="fusion", name=name, version="2.0.0", sha256="f" * 64)
        self.compatible = compatible
        self.output = output or FusionOutput(objects=(CAR,))
        self.error = error
        self.given = None
        self.odd = odd

    def misfit(self, feature):
        return "fuser: expects (1, 2), got (1, 3)" if feature.source in self.odd else ""

    def run(self, features):
        self.given = sorted(features)
        if self.error is not None:
            raise self.error
        return self.output


def _with_space(feature, space="a"):
    return dataclasses.replace(
        feature, model=dataclasses.replace(feature.model, feature_space=space)
    )


def _audio(space="a"):
    version = ModelVersion(role="audio", name="ears", version="1.0.0", sha256="0" * 64)
    feature = Feature(
        stamp_ns=1, frame_id="mic", source="audio", modality="audio", model=version, sequence=0
    )
    return _with_space(feature, space)


def _cycle(*features, models=(), events=(), fresh=()):
    by_source = {feature.source: feature for feature in features}
    return Cycle(
        sequence=3,
        config=CONFIG,
        opened_steady_ns=1_000_000_000,
        closed_steady_ns=1_050_000_000,
        closed_by=ClosedBy.COMPLETE,
        features=by_source,
        stamps_ns={name: feature.stamp_ns for name, feature in by_source.items()},
        stamp_ns=20,
        oldest_stamp_ns=10,
        sources=(),
        mode=Mode.FULL,
        valid=True,
        reason="",
        sound_events=tuple(events),
        fresh=frozenset(fresh),
        models=tuple(models),
    )


CAMERA = _with_space(camera(seen(box(20.0, 2.0))))
LIDAR = _with_space(lidar(box(20.3, 2.0)))


def test_feature_level_takes_all_features_and_nothing_else():
    model = Model()
    view = fuse_cycle(_cycle(CAMERA, LIDAR, _audio(), models=[model]))
    assert (view.level, view.level_reason) == (FusionLevel.FEATURE, "")
    assert model.given == ["audio", "camera", "lidar"]
    (fused,) = view.objects
    assert fused.score == pytest.approx(0.9), "the encoders' boxes are in the features already"
    assert fused.sources == ("camera", "lidar")
    assert {version.name for version in view.models} == {"camera_net", "lidar_net", "ears", "fuser"}


def test_no_camera_vouches_for_what_it_cannot_see():
    behind = box(-15.0, 2.0, score=0.8)
    model = Model(output=FusionOutput(objects=(CAR, behind)))
    view = fuse_cycle(_cycle(CAMERA, LIDAR, models=[model]))
    sources = {item.center_m[0]: item.sources for item in view.objects}
    assert sources == {20.0: ("camera", "lidar"), -15.0: ("lidar",)}


@pytest.mark.parametrize("rest", [(), ("audio",)])
def test_without_a_lidar_nothing_is_where_no_camera_looks(rest):
    behind = box(-23.6, 22.0, score=0.38)  # what a network says of cells that it was never told of
    model = Model(output=FusionOutput(objects=(CAR, behind)))
    features = [_with_space(camera()), *(_audio() for _ in rest)]
    view = fuse_cycle(_cycle(*features, models=(model,)))
    assert view.level is FusionLevel.FEATURE
    assert [item.center_m for item in view.objects] == [CAR.center_m]


def test_a_model_that_names_sources_is_believed_where_no_camera_looks():
    behind = dataclasses.replace(box(-15.0, 2.0, score=0.8), sources=("camera",))
    model = Model(output=FusionOutput(objects=(behind,)))
    view = fuse_cycle(_cycle(_with_space(camera()), models=(model,)))
    assert [item.sources for item in view.objects] == [("camera",)]


def test_without_a_model_the_decisions_are_fused():
    view = fuse_cycle(_cycle(CAMERA, LIDAR))
    assert (view.level, view.level_reason) == (
        FusionLevel.DECISION,
        "no fusion model is installed",
    )
    assert view.objects[0].sources == ("lidar", "camera")
    assert "fuser" not in {version.name for version in view.models}


def test_foreign_feature_space_falls_to_the_decision_level_for_that_source_only():
    model = Model()
    foreign = _with_space(CAMERA, "yolox")
    view = fuse_cycle(_cycle(foreign, LIDAR, models=[model]))
    assert view.level is FusionLevel.FEATURE
    assert view.level_reason == "camera: feature space 'yolox' is not one of the model's"
    assert model.given == ["lidar"]
    (fused,) = view.objects
    assert fused.sources == ("lidar", "camera"), "the camera's 2-D box supports the model's object"
    assert fused.score == pytest.approx(1 - 0.1 * 0.3)


def test_a_feature_that_does_not_fit_falls_out_alone():
    model = Model(odd=("camera",))
    view = fuse_cycle(_cycle(CAMERA, LIDAR, models=[model]))
    assert view.level is FusionLevel.FEATURE
    assert view.level_reason == "camera: fuser: expects (1, 2), got (1, 3)"
    assert model.given == ["lidar"]
    (fused,) = view.objects
    assert fused.sources == ("lidar", "camera"), "its decisions still support the model's object"
    nothing = fuse_cycle(_cycle(CAMERA, LIDAR, models=[Model(odd=("camera", "lidar"))]))
    assert nothing.level is FusionLevel.DECISION


def test_points_of_a_source_the_model_took_still_place_what_a_camera_sees():
    missed = box(15.0, -4.0)
    both = _with_space(lidar(points=surface(missed)))
    view = fuse_cycle(_cycle(camera(seen(missed)), both, models=[Model()]))
    (placed,) = [item for item in view.objects if item.sources == ("camera",)]
    assert placed.score == pytest.approx(0.7 * CONFIG.decision.points_factor)


@pytest.mark.parametrize("space", ["", "other"])
def test_no_fitting_feature_leaves_the_model_alone(space):
    model = Model()
    view = fuse_cycle(_cycle(_with_space(CAMERA, space), _with_space(LIDAR, space), models=[model]))
    assert view.level is FusionLevel.DECISION
    assert model.given is None
    assert f"lidar: feature space '{space}' is not one of the model's" in view.level_reason


def test_sound_alone_never_makes_a_model_see():
    model = Model()
    view = fuse_cycle(_cycle(_audio(), models=[model], events=[SIREN], fresh=["audio"]))
    assert model.given is None
    assert view.objects == ()
    assert view.sound_events == (SIREN,)
    assert view.level_reason == "no source that locates objects contributes"


BROKEN = dataclasses.replace(CAR, center_m=(float("nan"), 0.0, 0.0))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Model(error=RuntimeError("out of memory")), "out of memory"),
        (Model(error=KeyError("bev")), "'bev'"),
        (Model(output=FusionOutput(objects=(BROKEN,))), "car is not finite"),
    ],
)
def test_failing_model_falls_back_and_says_why(model, text):
    view = fuse_cycle(_cycle(CAMERA, LIDAR, models=[model]))
    assert view.level is FusionLevel.DECISION
    assert view.level_reason.startswith("fusion model fuser 2.0.0 failed: ")
    assert text in view.level_reason
    assert view.objects[0].sources == ("lidar", "camera")
    assert "fuser" not in {version.name for version in view.models}


def test_while_a_set_is_swapped_the_model_of_the_features_is_taken():
    new, old = Model(name="new", compatible=("b",)), Model(name="old", compatible=("a",))
    view = fuse_cycle(_cycle(CAMERA, LIDAR, models=[new, old]))
    assert (new.given, old.given) == (None, ["camera", "lidar"])
    assert "old" in {version.name for version in view.models}
    view = fuse_cycle(_cycle(_with_space(CAMERA, "b"), _with_space(LIDAR, "b"), models=[new, old]))
    assert new.given == ["camera", "lidar"]


def test_encoders_events_are_told_once():
    view = fuse_cycle(_cycle(LIDAR, models=[Model()], events=[SIREN, dataclasses.replace(SIREN)]))
    assert view.sound_events == (SIREN,)


def test_nothing_contributes():
    view = fuse_cycle(dataclasses.replace(_cycle(models=[Model()]), mode=Mode.NONE, valid=False))
    assert (view.level, view.objects, view.models) == (FusionLevel.NONE, (), ())
    assert view.level_reason == "no source contributes"


def test_view_carries_the_cycle():
    view = fuse_cycle(_cycle(LIDAR))
    assert (view.sequence, view.stamp_ns, view.oldest_stamp_ns) == (3, 20, 10)
    assert view.wait_s == pytest.approx(0.05)
    assert view.opened_steady_ns == 1_000_000_000
    assert view.frame_id == "base_link"


def test_fusing_twice_gives_the_same():
    cycle = _cycle(CAMERA, LIDAR, events=[SIREN])
    first, second = fuse_cycle(cycle), fuse_cycle(cycle)
    assert first.objects == second.objects
    assert first.sound_events == second.sound_events


def test_weak_objects_of_a_model_are_left_out():
    model = Model(output=FusionOutput(objects=(CAR, dataclasses.replace(GHOST, score=0.05))))
    view = fuse_cycle(_cycle(LIDAR, models=[model]))
    assert [item.center_m for item in view.objects] == [CAR.center_m]
