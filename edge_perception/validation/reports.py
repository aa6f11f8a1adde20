"""All files of a validation; the verdict, result.json, is written last."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_perception.validation.accounts import peak_mb
from edge_perception.validation.junit import write_junit
from edge_perception.validation.merging import read_lines
from edge_perception.validation.page import summary_rows, write_page
from edge_perception.validation.replaying import FUSED
from edge_perception.validation.result import BagResult, result_document
from edge_perception.validation.result_recording import ResultRecorder

RESULT, PAGE, JUNIT, SUMMARY, RECORDING = (
    "result.json",
    "index.html",
    "junit.xml",
    "summary.csv",
    "result.mcap",
)


def discard_reports(out: Path) -> None:
    """Remove the verdicts of an earlier run, so that a run that fails leaves none behind."""
    for name in (RESULT, PAGE, JUNIT, SUMMARY, RECORDING, FUSED):
        (out / name).unlink(missing_ok=True)
    for old in out.glob(".work_*"):
        shutil.rmtree(old, ignore_errors=True)


def write_reports(
    results: Sequence[BagResult],
    out: Path,
    *,
    started: float,
    points: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Write page, JUnit, recordings, summary and verdict.

    Args:
        results: all runs.
        out: the folder.
        started: `time.monotonic` at the start.
        points: of a sweep.
    """
    recorder = ResultRecorder()
    for result in results:
        if not result.failure:
            recorder.write(read_lines(result.folder / FUSED), result.folder / RECORDING)
    write_page(results, out / PAGE, points)
    write_junit(results, out / JUNIT)
    if len(results) > 1:
        _write_summary(results, out / SUMMARY)
    for result in results:
        if not result.failure:
            result.account["peak_mb"] = max(result.account["peak_mb"], peak_mb())
    text = json.dumps(result_document(results, started), indent=1)
    partial = out / f"{RESULT}.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(out / RESULT)


def _write_summary(results: Sequence[BagResult], path: Path) -> None:
    rows = summary_rows(results)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
