"""A run of MLflow: its metrics, and its model as a file or as a whole bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, FleetError
from edge_perception.core.extras import extra
from edge_perception.models.manifest import MANIFEST_NAME

_MOST_FILES = 1000


@dataclass(frozen=True, kw_only=True)
class MlflowRun:
    """What a run says of itself, and what it made."""

    id: str
    name: str
    experiment: str
    status: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    bundle: Path | None  # folder with a manifest among its artifacts
    model: Path | None  # its only ONNX file

    @property
    def about(self) -> dict[str, Any]:
        """What a registry keeps of it."""
        return {
            "run": self.id,
            "name": self.name,
            "experiment": self.experiment,
            "metrics": dict(self.metrics),
            "params": dict(self.params),
        }


@contextmanager
def mlflow_run(run_id: str, uri: str = "") -> Iterator[MlflowRun]:
    """Fetch a run; its files are there while the context lasts.

    Args:
        run_id: of the run.
        uri: of the tracking server or store; empty: as MLflow's own settings say.

    Raises:
        MissingExtraError: MLflow is not installed.
        ConfigurationError: there is no such run, it did not end well, or it made several models.
        FleetError: the store cannot be reached.
    """
    with extra("mlflow"):
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    with tempfile.TemporaryDirectory(prefix="mlflow_") as folder:
        try:
            client = MlflowClient(tracking_uri=uri or None)
            run = client.get_run(run_id)
            experiment = client.get_experiment(run.info.experiment_id).name
            files = _files(client, run, Path(folder), download_artifacts)
        except MlflowException as error:
            raise ConfigurationError(f"mlflow: run {run_id}: {_short(error)}") from error
        except OSError as error:
            raise FleetError(f"mlflow: run {run_id}: {_short(error)}") from error
        if run.info.status != "FINISHED":
            raise ConfigurationError(
                f"mlflow: run {run_id}: expected one that is FINISHED, got {run.info.status}"
            )
        bundles = [path.parent for path in files if path.name == MANIFEST_NAME]
        models = [path for path in files if path.suffix == ".onnx"]
        if len(bundles) > 1 or (not bundles and len(models) > 1):
            names = ", ".join(str(p.relative_to(folder)) for p in (bundles or models))
            raise ConfigurationError(f"mlflow: run {run_id}: expected one model, got {names}")
        if not bundles and not models:
            raise ConfigurationError(
                f"mlflow: run {run_id}: expected an ONNX model or a bundle among its artifacts, "
                f"got {', '.join(p.name for p in files) or 'nothing'}"
            )
        yield MlflowRun(
            id=run.info.run_id,
            name=run.info.run_name or "",
            experiment=experiment,
            status=run.info.status,
            metrics=dict(run.data.metrics),
            params=dict(run.data.params),
            bundle=bundles[0] if bundles else None,
            model=None if bundles else models[0],
        )


def _files(client: Any, run: Any, folder: Path, download: Any) -> list[Path]:
    """Fetch the artifacts of a run, and the models that it logged (since MLflow 3 beside them)."""
    if client.list_artifacts(run.info.run_id):
        client.download_artifacts(run.info.run_id, "", str(_made(folder / "run")))
    outputs = getattr(run, "outputs", None)
    for output in getattr(outputs, "model_outputs", None) or ():
        location = client.get_logged_model(output.model_id).artifact_location
        download(artifact_uri=location, dst_path=str(_made(folder / output.model_id)))
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if len(found) > _MOST_FILES:
        raise ConfigurationError(
            f"mlflow: run {run.info.run_id}: expected at most {_MOST_FILES} files, got {len(found)}"
        )
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
