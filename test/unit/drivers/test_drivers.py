"""Every row of docs/drivers.md, by messages as that driver publishes them.

Positions, colours and sounds are what the sensor saw, the state is what the page says, and what was
read otherwise than told is said; with the parameter lines of the row, which the nodes accept.
"""

from __future__ import annotations

import contextlib
from functools import cache

import datasets_mini as mini
import driver_clouds
import driver_images
import driver_sounds
import numpy as np
import pytest
import yaml
from driver_case import PERIOD_NS, REFUSED, WARN, Case
from driver_table import Row, data_sets, rows

from edge_perception.cli.main import main
from edge_perception.core.clock import FakeClock
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.transforms import TransformTree, transforms_of
from edge_perception.encoders import encoders
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.pose import pose_of
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.loading import LoadedModel, ModelOptions
from edge_perception.observe.doctor.observation import Endpoint, Input, Observation
from edge_perception.observe.doctor.rules import causes
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording
from edge_perception.releases.loading import load_model
from edge_perception.running.node_parameters import check_names
from edge_perception.running.parameter_yaml import ParameterFiles, decode_parameters

CASES: tuple[Case, ...] = (*driver_clouds.CASES, *driver_images.CASES, *driver_sounds.CASES)
ROWS: dict[str, Row] = {row.name: row for row in rows()}
# Of types that no encoder listens to: what happens then is held by test_another_type_is_told.
NOT_HEARD = {"Livox, CustomMsg": "livox_ros_driver2/msg/CustomMsg"}
DATA_SETS = {  # name in the table to what makes one in miniature
    "KITTI object": "kitti_object",
    "KITTI raw": "kitti_raw",
    "nuScenes": "nuscenes",
    "PandaSet": "pandaset",
}
FRAMES = {"camera": 3, "lidar": 3, "audio": 200}


@cache
def loaded(modality: str) -> LoadedModel:
    spec = encoders()[modality]
    return load_model(ModelOptions(model=spec.default_model), role=modality, modality=modality)


def pipeline_of(row: Row, case: Case) -> EncoderPipeline:
    """Return the path of a source as a node with the row's parameters has it."""
    spec, where = encoders()[row.modality], row.name
    parameters = {**row.parameters, **case.parameters}
    defaults = {"source": row.modality}
    options = decode_parameters(spec.options, parameters, where, defaults=defaults)
    content = decode_parameters(spec.content.limits, parameters, where, prefix="content.")
    return EncoderPipeline(
        source=row.modality,
        spec=spec,
        model=ServedModel.build(spec, loaded(row.modality)),
        geometry=options.geometry(),
        clock=FakeClock(node_ns=case.stamp_ns),
        content_limits=content,
        pose=pose_of(spec, options),
    )


def tell(pipeline: EncoderPipeline, case: Case, topic: str) -> None:
    """Give the pipeline what comes before the frames."""
    now = FakeClock(node_ns=case.stamp_ns).now()
    for kind, message in case.before:
        if kind == driver_images.INFO:
            refused = case.state == REFUSED and "camera_info" in case.says[0]
            with pytest.raises(InvalidFrameError) if refused else contextlib.nullcontext():
                pipeline.place.calibrate(message, [topic])
        else:
            assert pipeline.accept(message, case.stamp_ns, "", now) is None


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert len(ROWS) == len(rows()), "two rows of one name"
    tested = {case.row for case in CASES} | set(NOT_HEARD)
    assert sorted(ROWS) == sorted(tested)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_parameter_lines_are_accepted(name: str, tmp_path) -> None:
    row = ROWS[name]
    file = tmp_path / "row.yaml"
    section = {f"/**/{row.modality}_encoder": {"ros__parameters": row.parameters}}
    file.write_text(yaml.safe_dump(section))
    files = ParameterFiles([file])
    check_names(files)
    spec = encoders()[row.modality]
    decode_parameters(spec.options, row.parameters, name, defaults={"source": name}).geometry()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_driver_publishes(case: Case) -> None:
    row = ROWS[case.row]
    assert (row.modality, row.kind) == (case.modality, case.kind)
    assert row.kind in [topic.type for topic in encoders()[row.modality].topics]
    pipeline = pipeline_of(row, case)
    tell(pipeline, case, row.topic)
    features, looked = [], False
    for number in range(FRAMES[case.modality]):
        message = case.make(number)
        stamp = message.header.stamp
        received = FakeClock(node_ns=case.stamp_ns + number * PERIOD_NS, steady_ns=number).now()
        job = pipeline.accept(
            message, stamp.sec * 10**9 + stamp.nanosec, message.header.frame_id, received
        )
        if job is None:  # a window fills up
            continue
        if case.state != REFUSED and not looked:
            looked = True
            frame = pipeline.model.intake.frame(job.item_for(pipeline.model))
            case.decoded(frame)
            if case.placed is not None:
                T = pipeline.place.calibrated.T_base_sensor
                placed = frame.xyz_m @ T[:3, :3].T + T[:3, 3]
                np.testing.assert_allclose(placed, case.placed, rtol=0, atol=1e-4)
        features.append(pipeline.process(job))
    case.calibrated(pipeline.place.calibrated)
    assert features, "not one frame"
    for feature in features:
        assert feature.valid is (case.state != REFUSED), feature.invalid_reason
        for text in case.says:
            assert text in f"{feature.warning} {feature.invalid_reason}"
        assert bool(feature.warning) is (case.state == WARN), feature.warning
    # The brightness of the made-up points is of no sensor, so it may be of another scale.
    said = [text for text in pipeline.frames.notes.all if "is of another scale" not in text]
    assert len(said) == len(case.notes), said
    assert all(any(note in text for text in said) for note in case.notes), said


def test_a_real_sweep_gives_the_same_objects_whoever_publishes_it(data_dir, monkeypatch) -> None:
    path = min((data_dir / "pandaset").glob("*/*.npz"))
    values = np.load(path)
    count = len(values["xyz_cm"]) // (driver_clouds.RINGS * driver_clouds.COLUMNS)
    count *= driver_clouds.RINGS * driver_clouds.COLUMNS

    def sweep(index: int) -> dict[str, np.ndarray]:
        moved = np.float32(index * 1e-3)  # two equal sweeps are a frozen sensor
        return {
            "xyz": (values["xyz_cm"][:count] / 100).astype(np.float32) + moved,
            "met": np.random.default_rng(index).random(count) > 0.1,
            "ring": np.arange(count) % 64,
            "bright": values["intensity"][:count].astype(int),
            "time_s": np.linspace(0.0, 0.1, count),
        }

    monkeypatch.setattr(driver_clouds, "sweep", sweep)
    order = np.random.default_rng(1).permutation(count)
    monkeypatch.setattr(driver_clouds, "COLUMN_BY_COLUMN", order)
    found = {}
    for case in (case for case in driver_clouds.CASES if case.state != REFUSED):
        pipeline, message = pipeline_of(ROWS[case.row], case), case.make(0)
        now = FakeClock(node_ns=case.stamp_ns).now()
        job = pipeline.accept(message, case.stamp_ns, message.header.frame_id, now)
        feature = pipeline.process(job)
        assert feature.valid, feature.invalid_reason
        found[case.name] = [
            (item.class_name, *np.round(item.center_m, 1) + 0.0) for item in feature.objects
        ]
    assert len(found["Velodyne"]) > 10
    dark = (
        "Gazebo LiDAR",
        "Isaac Sim LiDAR",
        "CARLA LiDAR",
    )  # without brightness the model sees a little less
    for name, objects in found.items():
        if name not in dark:
            assert sorted(objects) == sorted(found["Velodyne"]), name


@pytest.mark.parametrize("name", NOT_HEARD)
def test_another_type_is_told(name: str) -> None:
    """No encoder listens to it; `doctor` names both types and the topic."""
    row = ROWS[name]
    assert row.kind == NOT_HEARD[name]
    assert row.kind not in [topic.type for topic in encoders()[row.modality].topics]
    wanted = Endpoint(node="/lidar_encoder", type=driver_clouds.CLOUD, reliable=False)
    driver = Endpoint(node="/livox_lidar_publisher", type=row.kind, reliable=True)
    heard = Input(
        source="lidar", node="/lidar_encoder", topic=row.topic, subscription=wanted,
        publishers=(driver,),
    )  # fmt: skip
    (cause,) = [
        c for c in causes(Observation(domain_id=41, inputs=(heard,))) if c.code == "wrong_type"
    ]
    assert row.topic in cause.text
    assert row.kind in cause.text
    assert driver_clouds.CLOUD in cause.fix


def test_every_data_set_has_a_row() -> None:
    assert dict(data_sets()) == {name: mini.MAKERS[maker][0] for name, maker in DATA_SETS.items()}


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_converted_data_set_is_seen_where_it_is(name: str, tmp_path) -> None:
    kind, make = mini.MAKERS[DATA_SETS[name]]
    expected = make(tmp_path / "data")
    sequence = ["--sequence", "scene-0061"] if kind == "nuscenes" else []
    path = tmp_path / "out.mcap"
    assert main(["convert", kind, str(tmp_path / "data"), str(path), *sequence]) == 0
    recording, decoder = Recording(path), MessageDecoder()
    tree = TransformTree()
    pipelines, poses = {}, {"camera": expected.T_base_camera, "lidar": expected.T_base_lidar}
    for modality in poses:
        spec = encoders()[modality]
        options = spec.options(source=modality)
        pipelines[modality] = EncoderPipeline(
            source=modality, spec=spec, model=ServedModel.build(spec, loaded(modality)),
            geometry=options.geometry(), clock=FakeClock(node_ns=mini.START_NS),
            pose=pose_of(spec, options, tree=tree),
        )  # fmt: skip
    features = []
    for recorded in recording.messages():
        message = decoder.decode(recorded.data, recorded.type)
        if recorded.topic == "/tf_static":
            for transform in transforms_of(message):
                tree.add(transform, static=True)
        elif recorded.topic == "/camera/camera_info":
            pipelines["camera"].place.calibrate(message)
        elif recorded.topic in ("/camera/image_raw/compressed", "/lidar/points"):
            pipeline = pipelines[recorded.topic.split("/")[1]]
            stamp, now = message.header.stamp, FakeClock(node_ns=recorded.log_time_ns).now()
            job = pipeline.accept(
                message, stamp.sec * 10**9 + stamp.nanosec, message.header.frame_id, now
            )
            features.append(pipeline.process(job))
    assert {feature.source for feature in features} == {"camera", "lidar"}
    for feature in features:
        assert feature.valid, feature.invalid_reason
        assert feature.geometry.pose_source == "tf"
        np.testing.assert_allclose(feature.geometry.T_base_sensor, poses[feature.source], atol=1e-4)
