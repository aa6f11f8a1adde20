"""Nodes follow a device plan on the machine that it was measured on, and say why they do not."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.machine import Machine, this_machine
from edge_perception.models.device_plan import (
    SCHEMA_VERSION,
    Cheaper,
    DevicePlan,
    SourcePlan,
    planned_options,
    planned_variants,
    read_device_plan,
    write_device_plan,
)
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions
from edge_perception.releases.loading import load_model

HERE = Machine(processor="Orin", architecture="aarch64", cores=8, accelerators=("Orin GPU",))
CAMERA = SourcePlan(
    serves="bev_lite/camera",
    model="bev_lite_int8/camera",
    sha256="ab",
    backend="openvino",
    provider="GPU",
    precision="fp16",
    threads=2,
)


@pytest.fixture
def write(tmp_path):
    def run(machine=HERE, **sources):
        path = tmp_path / "device_plan.yaml"
        plan = DevicePlan(
            schema_version=SCHEMA_VERSION,
            machine=machine,
            measured="2026-01-01T00:00:00Z",
            sources=sources or {"camera": CAMERA},
            gain=1.5,
        )
        write_device_plan(path, plan)
        assert read_device_plan(path) == plan
        return ModelOptions(model="bev_lite/camera", device_plan=str(path))

    return run


def test_the_plan_is_followed(write):
    planned = planned_options(write(), "camera", machine=HERE)
    options = planned.options
    assert (options.model, options.backend, options.provider) == (
        "bev_lite_int8/camera",
        "openvino",
        "GPU",
    )
    assert (options.precision, options.threads) == ("fp16", 2)
    assert planned.sha256 == "ab"
    assert not planned.note


def test_what_was_set_on_purpose_stays(write):
    asked = replace(write(), threads=4, model="my_detector")
    options = planned_options(asked, "camera", machine=HERE).options
    assert options.threads == 4
    assert options.model == "my_detector"
    assert options.backend == "openvino"


def test_who_says_where_a_model_runs_gets_nothing_that_was_measured_elsewhere(write):
    """A provider is of its runtime, and a precision is no other runtime's."""
    for own in (
        {"provider": "cuda,cpu"},
        {"backend": "kserve", "provider": "http://10.0.0.2:8000"},
        {"backend": "kserve"},
        {"backend": "openvino", "provider": "CPU"},
    ):
        asked = replace(write(), **own)
        options = planned_options(asked, "camera", machine=HERE).options
        where = ("backend", "provider", "precision")
        assert [getattr(options, name) for name in where] == [getattr(asked, n) for n in where]
        assert (options.model, options.threads) == ("bev_lite_int8/camera", 2)
    for own in ({"backend": "openvino"}, {"provider_options": ("GPU.X=1",)}):
        options = planned_options(replace(write(), **own), "camera", machine=HERE).options
        assert (options.backend, options.provider, options.precision) == ("openvino", "GPU", "fp16")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"processor": "Xavier"}, "processor Orin, here Xavier"),
        ({"cores": 4}, "cores 8, here 4"),
        ({"accelerators": ()}, "accelerators Orin GPU, here none"),
    ],
)
def test_on_another_machine_it_is_ignored_and_that_is_said(write, change, text):
    asked = write()
    planned = planned_options(asked, "camera", machine=replace(HERE, **change))
    assert planned.options == asked
    assert text in planned.note


def test_a_source_that_it_does_not_know_runs_as_before(write):
    asked = write()
    planned = planned_options(asked, "lidar_rear", machine=HERE)
    assert planned.options == asked
    assert "says nothing of lidar_rear, only of camera" in planned.note


def test_it_holds_for_every_source_of_a_kind_unless_it_names_one(write):
    asked = write(camera=replace(CAMERA, batch=4), camera_rear=replace(CAMERA, threads=3))
    for source, batch, threads in (("camera_left", 4, 2), ("camera_rear", 1, 3)):
        options = planned_options(asked, source, machine=HERE).options
        assert (options.batch, options.threads) == (batch, threads)
    assert "says nothing of cameras" in planned_options(asked, "cameras", machine=HERE).note


def test_load_control_takes_what_measured_cheaper_and_says_why_there_is_nothing(write):
    small = Cheaper(model="tiny/camera", sha256="cd", time=0.4, map_loss=3.1)
    asked = write(camera=replace(CAMERA, cheaper=(small,)))
    assert planned_variants(asked, "camera", machine=HERE) == ((small,), "")
    for options, source, machine, why in (
        (ModelOptions(model="bev_lite/camera"), "camera", HERE, "device_plan is not set"),
        (write(), "camera", HERE, "nothing measured cheaper than bev_lite_int8/camera"),
        (asked, "camera", replace(HERE, cores=2), "on another machine"),
        (asked, "lidar", HERE, "says nothing of lidar"),
        (replace(asked, model="mine"), "camera", HERE, "with bev_lite_int8/camera, not mine"),
    ):
        found, said = planned_variants(options, source, machine=machine)
        assert found == ()
        assert why in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected"),
        ("[1]", "expected"),
        ("schema_version: 1\n", "machine"),
        ("a: [", "device_plan"),
        ("[" * 5000, "nests too deep"),
        ("gain: 1.0\nsources: {}\ngain: 2.0\n", "'gain' is given twice.*line 3"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, problem):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=problem):
        read_device_plan(path)


def test_a_precision_that_is_none_is_refused(write):
    asked = write(camera=replace(CAMERA, precision="auto"))
    path = Path(asked.device_plan)
    path.write_text(path.read_text().replace("precision: auto", "precision: fp8"))
    with pytest.raises(ConfigurationError, match=r"camera\.precision: expected one of.*fp8"):
        planned_options(asked, "camera", machine=HERE)


def test_two_plans_in_one_file_are_refused(write):
    """YAML would take the second `sources` and leave the first out without a word."""
    asked = write()
    path = Path(asked.device_plan)
    path.write_text(path.read_text() + path.read_text())
    with pytest.raises(ConfigurationError, match="is given twice"):
        planned_options(asked, "camera", machine=HERE)


def test_a_plan_is_written_whole_or_not_at_all(write, monkeypatch):
    path = Path(write().device_plan)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_perception.core.whole_file.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_device_plan(path, replace(read_device_plan(path), gain=9.0))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_plan_of_another_schema_is_refused(write):
    asked = write()
    path = Path(asked.device_plan)
    document = {**yaml.safe_load(path.read_text()), "schema_version": 99}
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigurationError, match="expected schema_version 1, got 99"):
        planned_options(asked, "camera", machine=HERE)


def test_a_plan_that_cannot_be_followed_costs_no_frame(write):
    """The runtime of the plan is gone: the node runs as without a plan, and says so."""
    audio = SourcePlan(
        serves="bev_lite/audio", model="bev_lite/audio", sha256="ab", backend="no_such_runtime"
    )
    asked = replace(write(this_machine(), audio=audio), model="bev_lite/audio")
    loaded = load_model(asked, role="audio")
    loaded.backend.close()
    assert loaded.info.runtime == "onnxruntime"
    (note,) = loaded.notes
    assert "device plan not followed" in note
    assert "no_such_runtime" in note


def test_a_plan_of_another_release_says_so(write):
    served = find_bundle("bev_lite/audio", installed_model_folders())
    audio = SourcePlan(
        serves="bev_lite/audio", model="bev_lite/audio", sha256="ab", backend="onnxruntime"
    )
    asked = replace(write(this_machine(), audio=audio), model="bev_lite/audio")
    loaded = load_model(asked, role="audio")
    loaded.backend.close()
    assert "measured with another model than bev_lite_audio" in loaded.notes[0]
    right = replace(audio, sha256=served.sha256)
    loaded = load_model(
        replace(write(this_machine(), audio=right), model="bev_lite/audio"), role="audio"
    )
    loaded.backend.close()
    assert not loaded.notes
