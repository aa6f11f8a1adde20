"""The same recording in lock step and through the real nodes gives the same fused results."""

from edge_perception.samples.build import BuildOptions, build_recording
from edge_perception.samples.simulated import simulated_scene
from edge_perception.validation.bags import run_bags
from edge_perception.validation.live import STRICT, agree, run_live
from edge_perception.validation.merging import read_lines
from edge_perception.validation.result import ValidationOptions
from edge_perception.validation.settings import ReplaySettings


def test_lock_step_and_live_agree(tmp_path, ros_domain):
    path = tmp_path / "drive.mcap"
    build_recording(simulated_scene(), path, BuildOptions(duration_s=4.0))
    settings = ReplaySettings(bag=str(path))
    options = ValidationOptions(out=tmp_path / "lockstep")
    (replayed,) = run_bags({"run": settings}, options, lambda _: None)
    live = run_live(settings, tmp_path / "live", mode=STRICT, domain_id=ros_domain)
    assert live.sent == {"camera": 40, "lidar": 40}
    assert not any(live.dropped.values())
    assert live.features["camera"] == live.features["lidar"] == 40
    found = agree(
        live.records, read_lines(replayed.folder / "fused.jsonl"), position_m=1e-3, score=1e-3
    )
    assert found.lockstep > 25
    # Arrivals differ by what the machine takes, so a cycle may pair other frames now and then.
    assert found.matched_share > 0.5, found
    assert found.objects > 20
    assert found.objects_share > 0.98, found
