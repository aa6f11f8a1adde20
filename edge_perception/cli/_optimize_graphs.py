"""`edge-perception optimize check | export | parity`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_perception.cli._optimize_told import repeated, tell
from edge_perception.cli._progress import Progress
from edge_perception.core.errors import ConfigurationError


def check(args: argparse.Namespace) -> int:
    """Check a module before its export, or a graph after it."""
    from edge_perception.models.graph import graph_of
    from edge_perception.optimize.findings import Outcome, write_text
    from edge_perception.optimize.graph_check import check_graph, check_opset
    from edge_perception.optimize.graph_page import graph_page
    from edge_perception.optimize.need import check_need
    from edge_perception.optimize.sources import OnnxSource
    from edge_perception.optimize.torch_check import check_torch

    source = _source(args, args.model)
    outcome = Outcome(step="check", subject=source.name, command=repeated())
    if isinstance(source, OnnxSource):
        inputs = source.inputs(_given(args))
        check_graph(source.name, source.data, outcome, inputs, opset=args.opset or 0)
        page = args.work / "graph.html"
        write_text(page, graph_page(source.name, graph_of(source.name, source.data)))
        outcome.figures["page"] = page.name
    else:
        runs = bool(check_torch(source, outcome))
        if args.opset:
            check_opset(args.opset, outcome)
        if runs and args.budget_ms:
            print("measuring PyTorch", file=sys.stderr, flush=True)
            check_need(
                source, outcome, budget_ms=args.budget_ms, share=args.percentile / 100,
                most_s=args.measure_s, threads=args.threads,
            )  # fmt: skip
    return tell(outcome, args)


def export_model(args: argparse.Namespace) -> int:
    """Export, check, compare; the file and the bundle are there only when all passed."""
    from edge_perception.core.whole_file import write_whole
    from edge_perception.models.graph import graph_of
    from edge_perception.optimize.exporting import export
    from edge_perception.optimize.findings import Outcome, write_text
    from edge_perception.optimize.graph_check import check_graph, check_opset
    from edge_perception.optimize.graph_page import graph_page
    from edge_perception.optimize.parity import ParityInput, compare_sources
    from edge_perception.optimize.sources import OnnxSource, TorchSource
    from edge_perception.optimize.torch_check import check_torch

    if args.out.exists() and not args.replace:
        raise ConfigurationError(f"{args.out}: exists already: --replace, or another --out")
    source = _source(args, args.model)
    if not isinstance(source, TorchSource):
        raise ConfigurationError(f"{args.model}: is a graph already; `optimize check` looks at it")
    outcome = Outcome(step="export", subject=source.name, command=repeated())
    check_torch(source, outcome)
    check_opset(args.opset, outcome)
    if not outcome.passed:
        return tell(outcome, args)
    print("exporting", file=sys.stderr, flush=True)
    data = export(source, opset=args.opset, outputs=args.output, dynamic=args.dynamic)
    graph = OnnxSource(name=args.out.name, data=data)
    check_graph(graph.name, data, outcome, dict(source.inputs), opset=args.opset)
    if outcome.passed:
        exact = {"": "exact"}
        frames = [ParityInput(inputs=source.inputs)]
        compare_sources(graph, source, frames, outcome, layers=True, wanted=exact)
    if outcome.passed:
        write_whole(args.out, data)
        write_text(args.work / "graph.html", graph_page(graph.name, graph_of(graph.name, data)))
        outcome.figures.update(file=args.out.name, page="graph.html")
        if args.adapter:
            outcome.figures["bundle"] = _imported(args)
    return tell(outcome, args)


def _imported(args: argparse.Namespace) -> str:
    from edge_perception.core.json_file import read_json_object
    from edge_perception.releases.importing import import_model
    from edge_perception.releases.label_files import read_labels

    bundle = import_model(
        args.out,
        adapter=args.adapter,
        into=args.into.expanduser(),
        name=args.name,
        labels=read_labels(args.labels) if args.labels else (),
        manifest=read_json_object(args.manifest) if args.manifest else None,
        replace=args.replace,
    )
    return f"{bundle.manifest.name} {bundle.manifest.version} in {bundle.path}"


def parity(args: argparse.Namespace) -> int:
    """Compare a graph with its original."""
    from edge_perception.backends import BackendOptions
    from edge_perception.optimize.findings import Outcome
    from edge_perception.optimize.parity import compare_sources
    from edge_perception.optimize.sources import OnnxSource, open_source

    candidate = open_source(args.candidate, folders=args.folder)
    if not isinstance(candidate, OnnxSource):
        raise ConfigurationError(f"{args.candidate}: expected a graph: an .onnx file or a bundle")
    reference = _source(args, args.reference)
    outcome = Outcome(
        step="parity", subject=f"{candidate.name} against {reference.name}", command=repeated()
    )
    options = BackendOptions(
        provider=(args.provider,) if args.provider else (), precision=args.precision, strict=True
    )
    with _parity_frames(args, candidate, reference) as frames:
        compare_sources(
            candidate, reference, frames, outcome, layers=args.layers,
            wanted=_presets(args.preset), backend=args.backend, options=options,
        )  # fmt: skip
    return tell(outcome, args)


def report(args: argparse.Namespace) -> int:
    """Write the page; 1 where a step did not pass."""
    from edge_perception.optimize.findings import read_outcomes, write_text
    from edge_perception.optimize.report import points, report_page

    outcomes = read_outcomes(args.outcome or [args.work])
    page = args.out or args.work / "index.html"
    write_text(page, report_page(outcomes))
    passed = all(outcome["passed"] for outcome in outcomes)
    text = json.dumps(
        {"passed": passed, "steps": outcomes, "candidates": points(outcomes)}, indent=2
    )
    if args.json and args.json != "-":
        write_text(Path(args.json), text + "\n")
    print(text if args.json == "-" else page)
    return 0 if passed else 1


@contextmanager
def _parity_frames(args: argparse.Namespace, candidate: Any, reference: Any) -> Iterator[list]:
    from edge_perception.optimize.bag_frames import FrameStore, read_frames
    from edge_perception.optimize.parity import ParityInput
    from edge_perception.optimize.sources import OnnxSource

    bundles = [
        source.bundle
        for source in (reference, candidate)
        if isinstance(source, OnnxSource) and source.bundle is not None
    ]
    if args.bag:
        if not bundles:
            raise ConfigurationError("--bag: expected a bundle, which says how frames are prepared")
        with FrameStore() as store:
            read_frames(
                store, bundles[0], args.bag, most=args.frames, params_files=args.params_file,
                progress=Progress(args.frames, "frames"),
            )  # fmt: skip
            yield [ParityInput(inputs=frame.inputs, tags=frame.tags) for frame in store.frames]
        return
    if isinstance(reference, OnnxSource):
        given = _given(args) or next(
            (s.inputs() for s in (reference, candidate) if s.bundle is not None), None
        )
        yield [ParityInput(inputs=reference.inputs(given))]
    else:
        yield [ParityInput(inputs=reference.inputs)]


def _source(args: argparse.Namespace, text: str) -> Any:
    from edge_perception.optimize.sources import open_source

    return open_source(
        text, shapes=args.input, inputs_file=args.inputs, weights=args.weights, folders=args.folder
    )


def _given(args: argparse.Namespace) -> Any:
    from edge_perception.optimize.sources import example_inputs

    return example_inputs(args.input, args.inputs)


def _presets(texts: list[str]) -> dict[str, str]:
    from edge_perception.optimize.differences import preset

    found = {}
    for text in texts:
        output, _, name = text.rpartition("=")
        preset(name)  # refuses an unknown one
        found[output] = name
    return found
