"""The verdict over one replay: what did not arrive, its baseline, its labels, its limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_perception.validation.accounting import uneven
from edge_perception.validation.accounts import peak_mb
from edge_perception.validation.baseline import SCHEMA as BASELINE_SCHEMA
from edge_perception.validation.baseline import (
    BaselineHead,
    commit_name,
    device_name,
    find_baseline,
    runtime_name,
    write_baseline,
)
from edge_perception.validation.diff import Differ
from edge_perception.validation.findings import Finding
from edge_perception.validation.labels import Labels, labels_for
from edge_perception.validation.merging import read_lines
from edge_perception.validation.metrics import MODES, Reasons, RunFigures
from edge_perception.validation.provenance import compare_heads, provenance, tolerances_for
from edge_perception.validation.replaying import FUSED
from edge_perception.validation.result import BagResult, ValidationOptions
from edge_perception.validation.segments import segment_length_s
from edge_perception.validation.thresholds import Limits

_SAME_SENSORS = {"subset", "latency", "swap"}  # what-if changes that leave messages as they are
_FEW_REFUSED, _SHARE_REFUSED = 5, 0.2  # views: fewer are a start, a jump or a short disturbance
_FEW_DOUBTED, _SHARE_DOUBTED = 2, 0.5  # views: less is a moment of the drive, not the sensor
RECORDING = "recording"  # kind of a finding: not all of it arrived
_MIN_SCORE = "fusion.decision.min_score"
_BASE_FRAME = "fusion.base_frame"


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
        result.findings += provenance(base, account, result.settings)
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
    result.findings += [*unused_findings(result), *_label_findings(result)]
    result.findings += [
        Finding(kind="source", text=text, failed=False)
        for text in uneven(account["topics"], start_ns)
    ]
    result.findings += limit_findings(result, options.thresholds.limits)
    if options.update_baseline and options.baseline is not None and not result.incomplete:
        path = write_baseline(options.baseline, _head_of(result), fused)
        result.findings.append(Finding(kind="baseline", text=f"written to {path}", failed=False))


def unused_findings(result: BagResult) -> list[Finding]:
    """Name the sources of which messages came and not one was used: nothing is said about them.

    One of which a good part was not used is named too, and one that was mostly doubtful (its pose,
    what it shows); they fail nothing. Where the replay was changed on purpose that may be what was
    wanted.
    """
    assert result.figures is not None
    if not result.settings.what_if().keys() <= _SAME_SENSORS:
        return []
    figures, found = result.figures, []
    for name, came in sorted(figures.received.items()):
        refused = figures.refused.get(name, Reasons())
        if came and not figures.contributed[name]:
            text = f"{name}: {came} came and not one was used, of {figures.messages} messages: "
            text += refused.most or figures.silent.get(name, "it was never in time")
            found.append(Finding(kind="source", text=text))
        elif came and refused.count >= max(_FEW_REFUSED, _SHARE_REFUSED * figures.messages):
            text = (
                f"{name}: what came was not used in {refused.count} of {figures.messages} "
                f"messages: {refused.most}"
            )
            found.append(Finding(kind="source", text=text, failed=False))
        doubted, used = figures.doubted.get(name, Reasons()), figures.contributed[name]
        if doubted.count >= max(_FEW_DOUBTED, _SHARE_DOUBTED * used):
            text = f"{name}: doubtful in {doubted.count} of {used} messages that used it: "
            text += doubted.most.removeprefix(f"{name}: ")
            found.append(Finding(kind="source", text=text, failed=False))
    return found


def _label_findings(result: BagResult) -> list[Finding]:
    """Say how many labelled frames were compared; labels that nothing shows prove nothing."""
    assert result.figures is not None
    labels = result.figures.labels
    if labels is None:
        return []
    notes = [Finding(kind="labels", text=labels.note, failed=False)] if labels.note else []
    return [*_frame_finding(result, labels.base_frame), *notes, *_shown_finding(result, labels)]


def _frame_finding(result: BagResult, frame: str) -> list[Finding]:
    """Say when labels call their frame otherwise than the view: they may be somewhere else."""
    ours = str(result.account["parameters"].get(_BASE_FRAME, ""))
    if not frame or not ours or frame.lstrip("/") == ours.lstrip("/"):
        return []
    text = f"the labels are in frame '{frame}', the fused view is in '{ours}': taken for one frame"
    return [Finding(kind="labels", text=text, failed=False)]


def _shown_finding(result: BagResult, labels: Labels) -> list[Finding]:
    if len(labels.shown) == labels.total:
        return []
    text = f"{len(labels.shown)} of {labels.total} labelled frames were shown by a message"
    if not labels.shown:
        text += "; their stamps are those of no sweep and no image that was used"
    failed = not labels.shown and not result.settings.what_if()
    return [Finding(kind="labels", text=text, failed=failed)]


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
        ("share of valid messages", metrics["valid_share"], limits.min_valid_share, True),
        (
            "end to end p99, ms",
            metrics["end_to_end_ms"].get("p99"),
            limits.max_end_to_end_p99_ms,
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


def _head_of(result: BagResult) -> BaselineHead:
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
