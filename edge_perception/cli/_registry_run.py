"""`edge-perception registry add --mlflow RUN`: a run's model as a bundle, with its metrics."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError

_FILLED_IN = ("files", "golden", "schema_version", "created")


def add_arguments(add: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add.add_argument("--mlflow", metavar="RUN", help="id of a run whose model is added")
    add.add_argument("--mlflow-uri", default="", help="tracking server or store (MLflow's own)")
    add.add_argument(
        "--like", type=Path, metavar="BUNDLE", help="what the run's ONNX file takes the place in"
    )
    add.add_argument("--version", help="of the run's model")
    add.add_argument("--out", type=Path, help="folder for the bundle of the run")
    add.add_argument("--sign", type=Path, metavar="KEY", help="sign the bundle first")


def bundle_of_run(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Write the bundle of a run; return it, and what the registry keeps of the run.

    Raises:
        EdgePerceptionError: an option is missing, or the run has no model that fits.
    """
    from edge_perception.fleet.mlflow_run import mlflow_run
    from edge_perception.models.manifest import load_bundle

    if args.bundle is not None:
        raise ConfigurationError("--mlflow: expected no BUNDLE beside it: the run has the model")
    if args.out is None or args.out.exists():
        raise ConfigurationError(f"--out: expected a new folder for the bundle, got {args.out}")
    with mlflow_run(args.mlflow, args.mlflow_uri) as run:
        if run.bundle is not None:
            shutil.copytree(run.bundle, args.out)
            return load_bundle(args.out), {"mlflow": run.about}
        if args.like is None or args.version is None:
            raise ConfigurationError(
                "--like, --version: expected both, as the run has an ONNX file and no bundle"
            )
        return _in_place_of(load_bundle(args.like), run, args), {"mlflow": run.about}


def _in_place_of(like: Any, run: Any, args: argparse.Namespace) -> Any:
    """Write a bundle like another one with the run's graph, and golden outputs of its own."""
    import onnx

    from edge_perception.models.golden import read_golden
    from edge_perception.models.manifest import MANIFEST_NAME
    from edge_perception.models.writing import write_bundle

    manifest = json.loads((like.path / MANIFEST_NAME).read_bytes())
    for name in _FILLED_IN:
        manifest.pop(name, None)
    manifest |= {
        "version": args.version,
        "release": like.manifest.release + 1,
        "changelog": f"run {run.name or run.id} of {run.experiment}",
        "provenance": manifest["provenance"]
        | {"source": f"mlflow run {run.id}", "metrics": dict(run.metrics)},
    }
    manifest["runtime"].pop("opset", None)
    kept = {
        name: like.read(name)
        for name in like.manifest.files
        if name != like.manifest.model and not name.endswith(".npz")
    }
    return write_bundle(
        args.out,
        manifest=manifest,
        # MLflow puts weights into a file beside the graph; a bundle has one file.
        model=onnx.load(str(run.model)).SerializeToString(),
        golden_inputs=read_golden(like)[0],
        files=kept,
    )
