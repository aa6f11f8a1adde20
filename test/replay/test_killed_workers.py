"""Workers that are killed: tried again, named, and nothing else is lost."""

import killed_worker
import pytest

from edge_perception.validation import jobs, ray_jobs
from edge_perception.validation.bags import run_bags
from edge_perception.validation.result import ValidationOptions
from edge_perception.validation.settings import ReplaySettings


def run(drive, out, ray=""):
    # 1.5 s of the drive are enough; the rest is silenced.
    settings = ReplaySettings(bag=str(drive), drop=("lidar:1.5-9", "camera:1.5-9", "audio:0-9"))
    names = dict.fromkeys(("always", "once", "good"), settings)
    said: list[str] = []
    results = run_bags(names, ValidationOptions(out=out, jobs=2, ray=ray), said.append)
    return {result.name: result for result in results}, said


def test_a_killed_process_is_tried_again_and_named(drive, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "work", killed_worker.killed_work)
    results, said = run(drive, tmp_path / "out")
    assert "exit code -9" in results["always"].failure
    assert not results["always"].usage
    for name in ("good", "once"):
        assert not results[name].failure
        assert results[name].account["outputs"] > 10
    assert results["good"].account["sha256"] == results["once"].account["sha256"]
    assert [t.split(":")[0] for t in said if "tried again" in t].count("once/0") == 1


@pytest.mark.timeout(180)
def test_a_killed_worker_on_ray_is_tried_again_and_named(drive, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed: the extra `ray`")
    ray.cloudpickle.register_pickle_by_value(killed_worker)
    monkeypatch.setattr(ray_jobs, "work", killed_worker.killed_work)
    try:
        results, _ = run(drive, tmp_path / "out", ray="local")
    finally:
        ray.cloudpickle.unregister_pickle_by_value(killed_worker)
    assert "its worker died 2 times" in results["always"].failure
    for name in ("good", "once"):
        assert not results[name].failure
    assert results["good"].account["sha256"] == results["once"].account["sha256"]
