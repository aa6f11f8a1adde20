"""Memory does not grow with the length of a recording."""

from edge_perception.bench.replay import loop_recording
from edge_perception.recordings.reader import open_recording
from edge_perception.validation.jobs import run_tasks
from edge_perception.validation.segments import plan_segments
from edge_perception.validation.settings import ReplaySettings
from edge_perception.validation.tasks import Task

LONGER = 3
LIMIT_MB = 400


def test_a_recording_three_times_as_long_needs_no_more_memory(drive, tmp_path):
    long = tmp_path / "long.mcap"
    loop_recording(open_recording(drive), long, LONGER)
    (tmp_path / "long.params.yaml").write_bytes(drive.with_suffix(".params.yaml").read_bytes())
    tasks = []
    for bag in (drive, long):
        settings = ReplaySettings(bag=str(bag), segment_s=0)
        (segment,) = plan_segments(settings)
        tasks.append(
            Task(name=bag.stem, settings=settings, segment=segment, folder=tmp_path / bag.stem)
        )
    short, longer = (result.account for result in run_tasks(tasks, jobs=1, say=lambda _: None))
    assert longer["digest"]["messages"] == LONGER * short["digest"]["messages"]
    more_mb = sum(len(m.data) for m in open_recording(long).messages()) * (1 - 1 / LONGER) / 1e6
    assert longer["peak_mb"] < LIMIT_MB
    assert longer["peak_mb"] - short["peak_mb"] < 0.3 * more_mb
