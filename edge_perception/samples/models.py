"""Which models the demo's nodes serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.releases.importing import import_model
from edge_perception.releases.label_files import read_labels

YOLOX, YAMNET = "yolox_nano.onnx", "yamnet_spectra_in.onnx"
YAMNET_LABELS = "yamnet_class_map.csv"
CHOICES = ("reference", "imported")


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A configuration of models and its parameters."""

    name: str  # imported or reference
    description: str
    parameters: dict[str, dict[str, Any]]  # node -> parameter -> value

    def to_yaml(self) -> str:
        """Return the text of a parameter file; of comments only when nothing is changed."""
        document = {
            f"/**/{node}": {"ros__parameters": values} for node, values in self.parameters.items()
        }
        text = yaml.safe_dump(document, sort_keys=False) if document else ""
        return f"# {self.description}\n{text}"


def choose_models(choice: str, *, data: Path | None, folder: Path) -> ModelChoice:
    """Return the models to serve, importing them where that is asked for.

    Args:
        choice: ``reference``: the bundled set; ``imported``: YOLOX and YAMNET of the data folder
            and the bundled LiDAR model, fused at the decision level.
        data: folder with `models/`; None: there is none.
        folder: gets the imported bundles.

    Raises:
        ConfigurationError: imported models are asked for and not there.
        ModelError: they cannot be imported.
    """
    if choice not in CHOICES:
        raise UnknownNameError(kind="choice of models", name=choice, known=list(CHOICES))
    if choice == "reference":
        return ModelChoice(
            name="reference",
            description="bundled reference models, fused at the feature level",
            parameters={},
        )
    missing = [
        name
        for name in (YOLOX, YAMNET, YAMNET_LABELS)
        if data is None or not (data / "models" / name).is_file()
    ]
    if data is None or missing:
        raise ConfigurationError(
            f"models: expected {', '.join(missing)} in {data or 'a data folder'}/models, "
            "found none; set EDGE_PERCEPTION_DATA or use the reference models"
        )
    return _imported(data / "models", folder)


def _imported(models: Path, folder: Path) -> ModelChoice:
    camera = import_model(models / YOLOX, adapter="yolox", into=folder, replace=True)
    audio = import_model(
        models / YAMNET,
        adapter="yamnet",
        into=folder,
        labels=read_labels(models / YAMNET_LABELS),
        replace=True,
    )
    folders = [str(folder.resolve())]
    return ModelChoice(
        name="imported",
        description="YOLOX-nano and YAMNet imported, bundled LiDAR model, decision level",
        parameters={
            "camera_encoder": {"model": camera.manifest.name, "model_folders": [*folders]},
            "audio_encoder": {"model": audio.manifest.name, "model_folders": [*folders]},
            "fusion": {"model": ""},
        },
    )
