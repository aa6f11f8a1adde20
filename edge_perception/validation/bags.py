"""Validates recordings: replays their segments, merges them, and has each judged."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.replay.virtual import LATENCY_SCHEMA
from edge_perception.validation.baseline import device_name
from edge_perception.validation.jobs import Say, run_tasks
from edge_perception.validation.judging import judge
from edge_perception.validation.merging import merge
from edge_perception.validation.replaying import FUSED
from edge_perception.validation.result import BagResult, ValidationOptions
from edge_perception.validation.segments import plan_segments
from edge_perception.validation.settings import ReplaySettings
from edge_perception.validation.tasks import Task, TaskResult


def run_bags(
    names: Mapping[str, ReplaySettings], options: ValidationOptions, say: Say
) -> list[BagResult]:
    """Replay recordings and compare each with its baseline.

    Args:
        names: settings by a name that is used for folders.
        options: baseline, thresholds and jobs.
        say: takes progress lines.

    Raises:
        ConfigurationError: not one recording can be read.
    """
    results: list[BagResult] = []
    tasks: list[Task] = []
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".work_", dir=options.out))
    try:
        for name, settings in names.items():
            folder = options.out if len(names) == 1 else options.out / name
            result = BagResult(name=name, settings=settings, folder=folder)
            results.append(result)
            try:
                settings.changes()
                tasks += _tasks(name, settings, work)
            except ConfigurationError as error:
                result.failure, result.usage = str(error), True
        started = time.monotonic()
        done = run_tasks(tasks, jobs=options.jobs, say=say, ray=options.ray) if tasks else []
        replaying_s = time.monotonic() - started
        for result in results:
            mine = [item for item in done if item.task.name.rsplit("/", 1)[0] == result.name]
            result.replaying_s = replaying_s
            if not result.failure:
                _finish(result, mine, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return results


def _tasks(name: str, settings: ReplaySettings, work: Path) -> list[Task]:
    scratch = work / "unpacked"
    return [
        Task(
            name=f"{name}/{segment.index}",
            settings=settings,
            segment=segment,
            folder=work / name / str(segment.index),
            scratch=scratch,
        )
        for segment in plan_segments(settings, scratch)
    ]


def _finish(result: BagResult, done: Sequence[TaskResult], options: ValidationOptions) -> None:
    failed = [item for item in done if item.account is None]
    if failed:
        result.failure = "; ".join(
            f"segment {item.task.segment.index}: {item.failure}" if len(done) > 1 else item.failure
            for item in failed
        )
        result.usage = all(item.usage for item in failed)
        return
    result.folder.mkdir(parents=True, exist_ok=True)
    fused = result.folder / FUSED
    accounts = [item.account for item in done if item.account is not None]
    result.account = merge([item.task.folder for item in done], accounts, fused)
    _write_latency(result)
    try:
        judge(result, options)
    except EdgePerceptionError as error:
        result.failure, result.usage = str(error), isinstance(error, ConfigurationError)


def _write_latency(result: BagResult) -> None:
    """Write the measured stages of this machine, for `--latency measured:FILE`."""
    document = {
        "schema": LATENCY_SCHEMA,
        "device": device_name(),
        "stages": {
            name: [
                {"preprocess_s": a, "inference_s": b, "postprocess_s": c} for a, b, c in rows[:512]
            ]
            for name, rows in result.account["stages"].items()
        },
    }
    text = json.dumps(document)
    (result.folder / "latency.json").write_text(text, encoding="utf-8")
