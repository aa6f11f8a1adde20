"""Nodes that are played into strictly lose nothing, however slow the machine is."""

import pytest
import yaml

from edge_perception.encoders.watchdog import WatchdogLimits, hung_limit_s
from edge_perception.recordings.stamps import NS
from edge_perception.samples.build import BuildOptions, build_recording
from edge_perception.samples.simulated import simulated_scene
from edge_perception.validation.live import live_parameters
from edge_perception.validation.settings import ReplaySettings

SOURCES = ("camera", "lidar", "audio")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the parameters by section, of a vehicle whose camera has load control."""
    folder = tmp_path_factory.mktemp("live")
    build_recording(simulated_scene(), folder / "drive.mcap", BuildOptions(duration_s=0.3))
    (folder / "load.yaml").write_text(
        "/camera_encoder: {ros__parameters: {load.budget_ms: 40.0, queue_frames: 2}}\n"
    )
    settings = ReplaySettings(
        bag=str(folder / "drive.mcap"), params_files=(str(folder / "load.yaml"),)
    )
    text = live_parameters(settings, folder / "parameters.yaml").read_text()
    sections: dict[str, dict[str, object]] = {}
    for name, section in yaml.safe_load(text).items():  # the last one wins, with the slash or not
        sections.setdefault(f"/{name.lstrip('/')}", {}).update(section["ros__parameters"])
    return sections


def test_inputs_are_reliable_and_parts_of_a_stream_wait_in_a_long_queue(written):
    everywhere = written["/**"]
    for topic in ("/camera/image_raw/compressed", "/lidar/points", "/audio"):
        assert everywhere[f"qos_overrides.{topic}.subscription.reliability"] == "reliable"
    # A second without a core is nothing on a busy machine: ten parts of audio, and more of others.
    assert everywhere["qos_overrides./audio.subscription.depth"] >= 500
    # A frame that gives a feature is waited for, so large messages need no queue.
    assert "qos_overrides./lidar/points.subscription.depth" not in everywhere


@pytest.mark.parametrize("source", SOURCES)
def test_no_frame_is_pushed_out_skipped_or_given_up(source, written):
    encoder = written[f"/{source}_encoder"]
    assert encoder["queue_frames"] >= 500
    assert encoder.get("load.budget_ms", 0.0) == 0.0
    limits = WatchdogLimits(hung_after_budgets=encoder["watchdog.hung_after_budgets"])
    assert hung_limit_s(NS, limits) == 0.0  # none: a new session would lose the frame in work
