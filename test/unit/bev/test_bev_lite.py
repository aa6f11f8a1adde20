"""The bundled models: whole, small, repeatable, and as good as their cards say."""

import wave
from pathlib import Path

import numpy as np
import pytest

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.types import AudioBlock, Geometry, ImageFrame, PointCloud
from edge_perception.encoders import encoders
from edge_perception.models.golden import compare_golden
from edge_perception.models.manifest import load_bundle

SET = Path(__file__).parents[3] / "models" / "bev_lite"
ROLES = ("camera", "lidar", "audio", "fusion")
# From large to tiny, each within two points of its model.
FAMILY = {"camera": ("bev_lite_int8",), "lidar": ("bev_lite_int8", "bev_lite_small")}
VARIANTS = [(variant, role) for role, names in FAMILY.items() for variant in names]


def bundle_of(role):
    return load_bundle(SET / role)


def backend_of(bundle):
    return backends()["onnxruntime"].load(bundle.model_path, BackendOptions())


def encoder_of(role):
    bundle = bundle_of(role)
    return encoders()[role].make_encoder(bundle.manifest, backend_of(bundle))


def run(encoder, frame, geometry):
    outputs = encoder.infer(encoder.preprocess(frame, geometry))
    return encoder.postprocess(outputs, frame, geometry)


@pytest.mark.parametrize("role", ROLES)
def test_golden_outputs_come_again(role):
    bundle = bundle_of(role)
    deviations = compare_golden(bundle, backend_of(bundle))
    assert len(deviations) == len(bundle.manifest.outputs)
    assert all(d.passed for d in deviations), deviations


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_set_is_small():
    assert size_of(SET) < 6_000_000
    assert size_of(SET.parent) < 8_000_000


def test_encoders_and_fusion_share_a_feature_space():
    spaces = {role: bundle_of(role).manifest.feature_space for role in ROLES}
    assert len(set(spaces.values())) == 1
    assert spaces["camera"] in bundle_of("fusion").manifest.compatible_with


@pytest.mark.parametrize("role", ROLES)
def test_card_states_data_metrics_and_limits(role):
    bundle = bundle_of(role)
    text = (bundle.path / bundle.manifest.provenance.model_card).read_text()
    for heading in ("Intended use", "Interface", "Data", "Metrics", "Limits"):
        assert f"## {heading}" in text
    assert bundle.manifest.version in text


@pytest.mark.parametrize("role", ROLES)
def test_onnx_said_the_same_as_pytorch(role):
    measured = bundle_of(role).manifest.provenance.metrics["onnx_against_pytorch"]
    assert set(measured) == {spec.name for spec in bundle_of(role).manifest.outputs}
    assert all(d["relative"] < 1e-4 for d in measured.values())


def pandaset(data_dir, sequence):
    paths = sorted((data_dir / "pandaset" / sequence).glob("*.npz"))
    if not paths:
        pytest.skip(f"no PandaSet frames of sequence {sequence} in {data_dir}")
    return [dict(np.load(path)) | {"path": path} for path in paths]


def test_lidar_finds_the_cars_of_a_drive_it_never_saw(data_dir):
    encoder = encoder_of("lidar")
    wanted = correct = false = 0
    for frame in pandaset(data_dir, "002"):
        cloud = PointCloud(
            stamp_ns=0, frame_id="lidar", xyz_m=(frame["xyz_cm"] / 100).astype(np.float32),
            intensity=frame["intensity"].astype(np.float32) / 255,
        )  # fmt: skip
        objects = run(encoder, cloud, Geometry()).objects
        cars = np.array([o.center_m[:2] for o in objects if o.class_name == "car"]).reshape(-1, 2)
        real = np.isin(frame["box_label"], ["Car", "Pickup Truck"])
        boxes = frame["box_center_m"][real][:, :2]
        ahead = boxes[(boxes[:, 0] > 0) & (np.hypot(*boxes.T) < 40) & (np.abs(boxes[:, 1]) < 25)]
        gaps = np.hypot(*(ahead[:, None] - cars[None]).transpose(2, 0, 1))
        wanted += len(ahead)
        correct += int((gaps.min(axis=1) < 2).sum())
        all_gaps = np.hypot(*(frame["box_center_m"][:, None, :2] - cars).transpose(2, 0, 1))
        mine = (cars[:, 0] > 0) & (np.hypot(*cars.T) < 40)
        false += int((all_gaps.min(axis=0)[mine] > 2).sum())
    assert wanted > 40
    assert correct / wanted > 0.7  # some labelled cars have hardly a return
    assert false / wanted < 0.3


def test_camera_runs_on_a_real_image_and_finds_cars(data_dir):
    import cv2

    encoder = encoder_of("camera")
    frame = pandaset(data_dir, "001")[0]
    bgr = cv2.imread(str(frame["path"].with_suffix(".jpg")))
    geometry = Geometry(
        T_base_sensor=np.linalg.inv(frame["T_camera_lidar"]),
        intrinsics=frame["camera_K"],
        image_size=(bgr.shape[1], bgr.shape[0]),
    )
    image = ImageFrame(stamp_ns=0, frame_id="camera", bgr=bgr)
    output = run(encoder, image, geometry)
    assert output.tensors["bev"].shape == (1, 24, 96, 64)
    assert any(o.class_name == "car" and o.center_m[0] > 0 for o in output.objects)


def sound_events(path):
    """Return (class, window start, window end) of a clip, seconds."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / np.float32(32768)
    bundle = bundle_of("audio")
    spec = encoders()["audio"]
    intake = spec.make_intake(bundle.manifest)
    encoder = spec.make_encoder(bundle.manifest, backend_of(bundle))
    events = []
    for start in range(0, len(samples) - 1599, 1600):
        block = AudioBlock(
            stamp_ns=start * 62_500, frame_id="", samples=samples[start : start + 1600, None],
            sample_rate_hz=16_000, first_sample_index=start,
        )  # fmt: skip
        window = intake.accept(block)
        if window is not None:
            events += run(encoder, intake.frame(window), Geometry()).sound_events
    return [(e.class_name, e.window_start_ns / 1e9, e.window_end_ns / 1e9) for e in events]


def test_siren_and_horn_are_heard_in_their_windows(data_dir):
    events = sound_events(data_dir / "audio" / "siren_horn_voice.wav")
    sirens = [(a, b) for name, a, b in events if name == "siren"]
    horns = [(a, b) for name, a, b in events if name == "car_horn"]
    assert any(a < 5.7 and b > 5.0 for a, b in horns)
    assert min(a for a, _ in sirens) < 3.0
    assert max(b for _, b in sirens) > 6.5
    # The mean over 15 windows falls below its release within 0.6 s of the last that has a siren.
    assert all(a < 7.5 and b > 2.0 for a, b in sirens)


@pytest.mark.parametrize("clip", ["street", "rain"])
def test_no_alarm_where_there_is_none(data_dir, clip):
    names = {name for name, _, _ in sound_events(data_dir / "audio" / f"{clip}.wav")}
    assert not names & {"siren", "car_horn"}


@pytest.mark.parametrize(("variant", "role"), VARIANTS)
def test_variant_stands_in_for_its_model(variant, role):
    small = load_bundle(SET.with_name(variant) / role)
    full = bundle_of(role)
    assert small.manifest.runtime.precision == "int8"
    assert small.manifest.feature_space == full.manifest.feature_space
    assert small.model_path.stat().st_size < 0.5 * full.model_path.stat().st_size
    assert all(d.passed for d in compare_golden(small, backend_of(small)))
    with np.load(full.path / full.manifest.golden.inputs) as inputs:
        arrays = dict(inputs)
    outputs = [backend_of(bundle).infer(arrays) for bundle in (full, small)]
    for name in ("bev", "heatmap", "boxes"):
        one, other = (out[name].ravel() for out in outputs)
        cosine = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
        assert cosine > 0.97, name


@pytest.mark.parametrize(("variant", "role"), VARIANTS)
def test_variant_says_what_was_measured_of_it(variant, role):
    bundle = load_bundle(SET.with_name(variant) / role)
    measured = bundle.manifest.provenance.metrics["compared"]
    assert measured["with"] == bundle_of(role).manifest.name
    assert measured["loss_points"] <= 2.0
    # Of the machine that is named: with AVX-512 BF16 and VNNI it was 0.47, with AMX, where float32
    # is faster, 0.58.
    assert measured["ratio"] < 0.67
    text = (bundle.path / bundle.manifest.provenance.model_card).read_text()
    assert f"{measured['loss_points']:.2f} points of mAP lost" in text
    assert "CC BY 4.0" in text


def test_family_gets_cheaper_member_by_member():
    for role, names in FAMILY.items():
        bundles = [load_bundle(SET.with_name(name) / role) for name in names]
        ratios = [b.manifest.provenance.metrics["compared"]["ratio"] for b in bundles]
        assert ratios == sorted(ratios, reverse=True), role
        sizes = [bundle.model_path.stat().st_size for bundle in bundles]
        assert sizes == sorted(sizes, reverse=True), role
