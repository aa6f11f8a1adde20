"""YAMNet, Google's AudioSet tagger of 521 classes (Apache-2.0), imported from an ONNX file.

The graph takes log-mel patches; its constants are those of YAMNet's published params.py. Decoding
is that of any tagger: see audio_tagger.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters import AdapterSpec
from edge_perception.models.adapters._audioset import EVENTS, class_names
from edge_perception.models.adapters.audio_tagger import SoundDecoder
from edge_perception.models.graph import (
    input_names,
    load_graph,
    opset_of,
    shapes_text,
    tensor_shapes,
)

CLASS_MAP_NAME = "yamnet_class_map.csv"
CLASSES = 521
EMBEDDING_SIZE = 1024
PATCH = (96, 64)  # frames, mel bins

PREPROCESSING = {
    "sample_rate_hz": 16_000,
    "window_s": 0.025,
    "hop_s": 0.010,
    "fft_size": 512,
    "mel_bins": PATCH[1],
    "mel_min_hz": 125.0,
    "mel_max_hz": 7500.0,
    "mel_scale": "htk",
    "log_offset": 0.001,
    "patch_frames": PATCH[0],
    "patch_hop_frames": 10,  # YAMNet's own is 48; a vehicle wants a fresh answer every 0.1 s
}


def describe(path: Path) -> dict[str, Any]:
    """Describe a YAMNet ONNX file as a manifest.

    The labels come from `yamnet_class_map.csv` beside the file; without it the import must be
    given them. The embedding is the tensor that the last fully connected layer reads (the average
    pool of 1024 channels).

    Raises:
        ModelError: the graph is no YAMNet on log-mel patches, or the class map is damaged.
    """
    model = load_graph(path)
    shapes = tensor_shapes(model)
    patch = _one(path, "input", input_names(model), shapes, PATCH)
    scores = _one(path, "output", [value.name for value in model.graph.output], shapes, (CLASSES,))
    embedding = _one(
        path, "classifier input", _classifier_inputs(model.graph), shapes, (EMBEDDING_SIZE,)
    )
    class_map = path.with_name(CLASS_MAP_NAME)
    return {
        "schema_version": 1,
        "name": "yamnet",
        "role": "audio",
        "version": "1.0.0",
        "adapter": "yamnet",
        "inputs": [{"name": patch, "dtype": "float32", "shape": list(shapes[patch])}],
        "preprocessing": dict(PREPROCESSING),
        "postprocessing": {
            "scores": scores,
            "activation": "none",
            "confirm_windows": 2,
            "events": {
                name: {"labels": list(labels), "threshold": threshold, "release": release}
                for name, (labels, threshold, release) in EVENTS.items()
            },
        },
        "labels": read_class_map(class_map) if class_map.exists() else [],
        "features": {"embedding": embedding},
        "runtime": {"opset": opset_of(model)},
        "provenance": {
            "licence": "Apache-2.0",
            "source": "YAMNet, github.com/tensorflow/models/tree/master/research/audioset/yamnet",
            "data": "AudioSet",
        },
    }


def read_class_map(path: Path) -> list[str]:
    """Return the display names of a YAMNet class map, in the order of the scores.

    Raises:
        ModelError: the file cannot be read or does not list 521 classes.
    """
    names = class_names(path)
    if len(names) != CLASSES:
        raise ModelError(f"{path.name}: expected {CLASSES} classes, got {len(names)}")
    return names


def _one(
    path: Path,
    what: str,
    names: list[str],
    shapes: dict[str, tuple[int, ...]],
    trailing: tuple[int, ...],
) -> str:
    fitting = [name for name in names if shapes.get(name, ())[-len(trailing) :] == trailing]
    if len(fitting) != 1:
        wanted = ", ".join(map(str, (1, *trailing)))
        raise ModelError(
            f"{path.name}: {what}: expected one of shape ({wanted}), "
            f"got {shapes_text(names, shapes)}"
        )
    return fitting[0]


def _classifier_inputs(graph: Any) -> list[str]:
    layers = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    return list(layers[-1].input[:1]) if layers else []


SPEC = AdapterSpec(name="yamnet", roles=("audio",), make_decoder=SoundDecoder, describe=describe)
