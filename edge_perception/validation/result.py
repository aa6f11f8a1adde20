"""Validates recordings: replay, diff, figures, verdict and all reports of one run."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.replay.virtual import LATENCY_SCHEMA
from edge_perception.validation.accounts import peak_mb
from edge_perception.validation.baseline import (
    SCHEMA as BASELINE_SCHEMA,
)
from edge_perception.validation.baseline import (
    Baseline,
    BaselineHead,
    commit_name,
    device_name,
    find_baseline,
    runtime_name,
    write_baseline,
)
from edge_perception.validation.diff import Comparison, Differ, Finding, compare_heads
from edge_perception.validation.jobs import run_tasks
from edge_perception.validation.labels import labels_for
from edge_perception.validation.merging import merge, read_lines
from edge_perception.validation.metrics import MODES, RunFigures, Series
from edge_perception.validation.replaying import FUSED
from edge_perception.validation.segments import plan_segments, segment_length_s
from edge_perception.validation.settings import ReplaySettings
from edge_perception.validation.tasks import Task, TaskResult
from edge_perception.validation.thresholds import RESULT_SCHEMA, Limits, Thresholds

RECORDING = "recording"  # kind of a finding: not all of it arrived
_MIN_SCORE = "fusion.decision.min_score"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """What `validate` is asked for, beside the replays."""

    out: Path
    baseline: Path | None = None
    update_baseline: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    jobs: int = 1
    ray: str = ""


@dataclass(kw_only=True)
class BagResult:
    """One recording, validated."""

    name: str
    settings: ReplaySettings
    folder: Path
    account: dict[str, Any] = field(default_factory=dict)
    figures: RunFigures | None = None
    baseline: Baseline | None = None
    comparison: Comparison | None = None
    modes_then: Series = field(default_factory=Series)  # of the baseline
    findings: list[Finding] = field(default_factory=list)
    failure: str = ""  # it could not be replayed
    usage: bool = False
    replaying_s: float = 0.0  # of all recordings of the command together, wall time

    @property
    def passed(self) -> bool:
        """Whether it was replayed and nothing failed."""
        return not self.failure and not any(finding.failed for finding in self.findings)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """What of the recording did not arrive: the verdict holds for the rest only."""
        return tuple(self.account.get("problems", ()))

    @property
    def throughput_ratio(self) -> float | None:
        """Throughput against the models in a loop, with their pre- and postprocessing."""
        return _ratio(self.account.get("work_s"), self.account.get("wall_s"))

    def to_json(self) -> dict[str, Any]:
        """Return what result.json says of it."""
        if self.failure:
            return {"name": self.name, "bag": self.settings.bag, "failure": self.failure}
        account = self.account
        assert self.figures is not None
        base = self.baseline
        return {
            "name": self.name,
            "bag": self.settings.bag,
            "passed": self.passed,
            "sha256": account["sha256"],
            "throughput_ratio": self.throughput_ratio,
            "throughput_ratio_inference_only": _ratio(account["bare_s"], account["wall_s"]),
            "peak_mb": account["peak_mb"],
            "replay_s": round(account["wall_s"], 3),
            "real_time_factor": _ratio(account["recording"]["duration_s"], account["wall_s"]),
            "segments": account["segments"],
            "recording": account["recording"],
            "notes": account["notes"],
            "topics": account["topics"],
            "what_if": self.settings.what_if(),
            "latency_model": self.settings.latency,
            "models": account["models"],
            "parameters": account["parameters"],
            "metrics": self.figures.metrics(),
            "dropped": account["dropped"],
            "baseline": None
            if base is None
            else {
                "path": str(base.path),
                "commit": base.head.commit,
                "device": base.head.device,
                "runtime": base.head.runtime,
                "sha256": base.head.sha256,
                "same_bytes": base.head.sha256 == account["sha256"],
                "same_recording": base.exact,
                "metrics": base.head.metrics,
            },
            "findings": [
                {"kind": f.kind, "text": f.line(), "count": f.count, "failed": f.failed}
                for f in self.findings
            ],
        }


def _ratio(a: float | None, b: float | None) -> float | None:
    return round(a / b, 4) if a and b else None


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
    write_latency(result)
    try:
        judge(result, options)
    except EdgePerceptionError as error:
        result.failure, result.usage = str(error), isinstance(error, ConfigurationError)


def judge(result: BagResult, options: ValidationOptions) -> None:
    """Compare a replay with its baseline and its limits."""
    account, fused = result.account, result.folder / FUSED
    result.findings += [Finding(kind=RECORDING, text=text) for text in result.incomplete]
    start_ns = account["recording"]["start_ns"]
    figures = RunFigures(start_ns, labels_for(result.settings))
    result.figures = figures

    def counted() -> Iterator[dict[str, Any]]:
        for record in read_lines(fused):
            figures.add(record)
            yield record

    if options.baseline is None or options.update_baseline:
        for _ in counted():
            pass
    else:
        base = find_baseline(options.baseline, account["recording"])
        result.baseline = base
        result.findings += _provenance(result, base)
        result.findings += compare_heads(
            account["parameters"], account["models"], base.head, options.thresholds
        )
        differ = Differ(
            tolerances_for(base, account, options.thresholds),
            start_ns=start_ns,
            min_score=float(account["parameters"][_MIN_SCORE]),
            min_score_then=float(base.head.parameters.get(_MIN_SCORE, 0.0)),
        )

        def then() -> Iterator[dict[str, Any]]:
            for record in base.records():
                time_s = (record["published_ns"] - start_ns) / 1e9
                result.modes_then.add(time_s, MODES.index(record["mode"]))
                yield record

        result.comparison = differ.run(counted(), then())
        result.findings += result.comparison.findings
    account["peak_mb"] = max(account["peak_mb"], peak_mb())
    result.findings += _label_findings(result)
    result.findings += limit_findings(result, options.thresholds.limits)
    if options.update_baseline and options.baseline is not None and not result.incomplete:
        path = write_baseline(options.baseline, head_of(result), fused)
        result.findings.append(Finding(kind="baseline", text=f"written to {path}", failed=False))


def _label_findings(result: BagResult) -> list[Finding]:
    """Say how many labelled frames were compared; labels that nothing shows prove nothing."""
    assert result.figures is not None
    labels = result.figures.labels
    if labels is None or len(labels.shown) == labels.total:
        return []
    text = f"{len(labels.shown)} of {labels.total} labelled frames were shown by a message"
    if not labels.shown:
        text += "; their stamps are those of no sweep and no image that was used"
    failed = not labels.shown and not result.settings.what_if()
    return [Finding(kind="labels", text=text, failed=failed)]


def same_device(base: Baseline, account: Mapping[str, Any]) -> bool:
    """Whether a baseline was made on an equal processor and runtime, of the same bytes."""
    return (
        base.exact
        and base.head.device == device_name()
        and base.head.runtime == runtime_name(account["models"])
    )


def tolerances_for(base: Baseline, account: Mapping[str, Any], thresholds: Thresholds) -> Any:
    """Return the tolerances that hold between this device and the baseline's."""
    same = same_device(base, account)
    return thresholds.same_device if same else thresholds.other_device


def _provenance(result: BagResult, base: Baseline) -> list[Finding]:
    notes = []
    if result.settings.what_if():
        changed = ", ".join(f"{k} {v}" for k, v in result.settings.what_if().items())
        notes.append(f"replayed with {changed}")
    if not base.exact:
        notes.append("the recording has the same timing, its bytes differ")
    if not same_device(base, result.account):
        notes.append(
            f"compared with the tolerances of another device: {base.head.device}, "
            f"{base.head.runtime}"
        )
    return [Finding(kind="note", text=text, failed=False) for text in notes]


def limit_findings(result: BagResult, limits: Limits) -> list[Finding]:
    """Name what a result does not reach by itself."""
    assert result.figures is not None
    metrics = result.figures.metrics()
    checks = [
        ("recall", metrics.get("recall"), limits.min_recall, True),
        ("precision", metrics.get("precision"), limits.min_precision, True),
        ("share of FULL messages", metrics["full_share"], limits.min_full_share, True),
        (
            "share of missed deadlines",
            metrics["deadline_missed_share"],
            limits.max_deadline_missed_share,
            False,
        ),
        ("throughput ratio", result.throughput_ratio, limits.min_throughput_ratio, True),
        ("peak memory, MB", result.account["peak_mb"], limits.max_peak_mb, False),
    ]
    findings = []
    for name, value, limit, at_least in checks:
        if not limit:
            continue
        if value is None:
            text = f"{name}: a limit of {limit:g} is asked for and it is not known"
        elif (value < limit - 1e-9) if at_least else (value > limit + 1e-9):
            text = f"{name}: {value:g}, {'at least' if at_least else 'at most'} {limit:g} asked for"
        else:
            continue
        findings.append(Finding(kind="limit", text=text))
    return findings


def head_of(result: BagResult) -> BaselineHead:
    """Return what a baseline says of its origin."""
    account = result.account
    assert result.figures is not None
    return BaselineHead(
        schema=BASELINE_SCHEMA,
        name=Path(result.settings.bag).name,
        commit=commit_name(),
        device=device_name(),
        runtime=runtime_name(account["models"]),
        sha256=account["sha256"],
        recording=account["recording"],
        models=account["models"],
        parameters=account["parameters"],
        what_if=result.settings.what_if(),
        segment_s=segment_length_s(result.settings, account["recording"]["duration_s"]),
        metrics=result.figures.metrics(),
    )


def write_latency(result: BagResult) -> None:
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


def result_document(results: Sequence[BagResult], started: float) -> dict[str, Any]:
    """Return result.json: of one recording flat, of several with a list."""
    bags = [result.to_json() for result in results]
    whole: dict[str, Any] = {
        "schema": RESULT_SCHEMA,
        "passed": all(result.passed for result in results),
        "commit": commit_name(),
        "device": device_name(),
        "wall_s": round(time.monotonic() - started, 3),
        "replaying_s": round(max((r.replaying_s for r in results), default=0.0), 3),
    }
    if len(bags) == 1:
        return {**bags[0], **whole}
    good = [bag for bag in bags if "sha256" in bag]
    ratios = [bag["throughput_ratio"] for bag in good if bag["throughput_ratio"]]
    whole["throughput_ratio"] = min(ratios, default=None)
    whole["peak_mb"] = max((bag["peak_mb"] for bag in good), default=None)
    return {**whole, "bags": bags}
