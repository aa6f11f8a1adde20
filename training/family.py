"""The family from large to tiny: variants of the bundled encoders as bundles of the set.

`python -m training.family lidar.json small/lidar_q --set bev_lite_int8 --how "in 8 bits" --version
0.5.1 --release 6` writes what `edge-perception optimize` made into `models/bev_lite_int8/lidar`,
with what `optimize compare` found of it in the manifest and on the card.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.golden import read_golden
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.models.writing import write_bundle

MODELS = Path("models")
LARGE = "bev_lite"
_MANTISSA_BITS = 8  # of golden inputs: more is noise, which nothing shrinks
_LEAST_PICTURE = 128  # rows and columns from which an input of three channels is one
_KEPT = ("loss_points", "loss_low", "loss_high", "ratio", "ratio_low", "ratio_high")


def light(inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return golden inputs that take a fraction of the room, of the same shapes and dtypes.

    Pictures have each second pixel twice in both directions, all have 8 bits of mantissa. What a
    runtime computes wrongly shows with them as well: the golden outputs are those of these inputs.
    """
    made = {}
    for name, array in inputs.items():
        values = array
        if array.ndim == 4 and array.shape[1] == 3 and min(array.shape[2:]) >= _LEAST_PICTURE:
            values = array[..., ::2, ::2].repeat(2, -2).repeat(2, -1)
            values = values[..., : array.shape[2], : array.shape[3]]
        mantissa, exponent = np.frexp(values.astype(np.float64))
        steps = np.round(mantissa * 2**_MANTISSA_BITS) / 2**_MANTISSA_BITS
        made[name] = np.ascontiguousarray(np.ldexp(steps, exponent).astype(array.dtype))
    return made


def row_of(compared: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what `optimize compare` found of a bundle, as it stands in the manifest.

    Args:
        compared: its JSON.
        name: of the bundle's row.

    Raises:
        KeyError: no row has that name, or it has no times.
    """
    rows = compared["tables"]["candidates"]
    row = next((row for row in rows if row["candidate"] == name), None)
    if row is None:
        names = ", ".join(row["candidate"] for row in rows)
        raise KeyError(f"{name}: expected one of {names}")
    return {
        "with": rows[0]["candidate"],
        "judge": compared["figures"]["judge"],
        "machine": compared["figures"]["machine"],
        "backend": row["backend"],
        **{key: row[key] for key in _KEPT},
        "losses_points": row["losses_points"],
    }


def write(
    made: Bundle,
    large: Bundle,
    into: Path,
    name: str,
    how: str,
    measured: Mapping[str, Any],
    *,
    version: str,
    release: int,
) -> Bundle:
    """Write a variant beside the set.

    Args:
        made: by `edge-perception optimize`, or bundled before.
        large: the bundle that it may stand in for.
        into: folder of the new bundle.
        name: of the new bundle.
        how: it differs from the large one, for its card.
        measured: as `row_of` returns it.
        version: of the new bundle.
        release: its number, which goes up with each version.
    """
    manifest = fields_of(made) | {
        "name": name, "version": version, "release": release,
        "feature_space": large.manifest.feature_space,
    }  # fmt: skip
    model = made.read(made.manifest.model)
    metrics = {"compared": dict(measured)}  # those of the large one are not of this one
    manifest["provenance"] = {
        **manifest["provenance"], "metrics": metrics, "model_card": "MODEL_CARD.md",
    }  # fmt: skip
    text = card(large, manifest, how, measured, size=len(model))
    return write_bundle(
        into, manifest=manifest, model=model, golden_inputs=light(read_golden(large)[0]),
        files={"MODEL_CARD.md": text.encode()}, replace=True,
    )  # fmt: skip


def fields_of(bundle: Bundle) -> dict[str, Any]:
    """Return the manifest of a bundle that is written again, without what writing it finds out."""
    manifest: dict[str, Any] = json.loads(json.dumps(asdict(bundle.manifest)))
    for name in ("files", "golden", "created"):
        manifest.pop(name)
    if manifest.get("calibration_set") is None:
        manifest.pop("calibration_set", None)
    objectives = manifest.get("objectives") or {}
    manifest["objectives"] = {k: v for k, v in objectives.items() if v is not None}
    return manifest


def card(
    large: Bundle, manifest: Mapping[str, Any], how: str, measured: Mapping[str, Any], *, size: int
) -> str:
    """Return the model card: that of the large one, with what differs in the place of its figures.

    Args:
        large: with its card.
        manifest: of the variant.
        how: it differs from the large one.
        measured: as `row_of` returns it.
        size: of its graph, bytes.
    """
    parts = sections(large.read(large.manifest.provenance.model_card).decode())
    before, role = f"{large.manifest.name} {large.manifest.version}", large.manifest.role
    calibration = manifest.get("calibration_set")
    frames = (
        f" Ranges of 8 bits: {calibration['samples']} frames of {calibration['source']}."
        if calibration
        else ""
    )
    interface = [line for line in parts["Interface"].splitlines() if line.startswith("- ")]
    memory = manifest["resources"]["peak_memory_bytes"] / 1e6
    low, high = measured["loss_low"], measured["loss_high"]
    return "\n".join(
        [
            f"# {manifest['name']} {manifest['version']}",
            "",
            f"{parts['']} {before}, {how}: it may stand in for it.",
            "",
            *("## Intended use", "", parts["Intended use"], ""),
            *("## Interface", "", *interface, ""),
            f"ONNX opset {manifest['runtime']['opset']}, {manifest['runtime']['precision']}, "
            f"static shapes, {size / 1e6:.2f} MB, {memory:.0f} MB of memory.",
            "",
            *("## Data", "", f"{data(parts['Data'])}{frames}", ""),
            "## Metrics",
            "",
            f"Against {before} on {measured['judge']['frames']} simulated frames that nothing was "
            f"trained or chosen on (`edge-perception optimize compare`): "
            f"{measured['loss_points']:.2f} points of mAP lost ({low:.2f} to {high:.2f} with "
            f"95 %) at {measured['ratio']:.2f} of the time ({measured['machine']}, ONNX Runtime, "
            "one thread, in turns).",
            "",
            "| of | points lost |",
            "|---|---|",
            *(
                f"| {role + ' alone' if name == role else name} | {loss:.2f} |"
                for name, loss in measured["losses_points"].items()
            ),
            "",
            *("## Limits", "", limits(parts["Limits"]), ""),
            "Made by `python -m training.family`, Apache-2.0.",
            "",
        ]
    )


def sections(text: str) -> dict[str, str]:
    """Return the sections of a card by heading; "": what stands below its title."""
    head, *rest = re.split(r"^## ", text, flags=re.MULTILINE)
    parts = {"": "\n".join(head.splitlines()[1:]).strip()}
    for part in rest:
        heading, _, body = part.partition("\n")
        parts[heading.strip()] = body.strip()
    return parts


def data(text: str) -> str:
    """Return what a card says of data, without what it says of figures that the variant has not."""
    return " ".join(s for s in re.split(r"(?<=\.) ", text) if "figures below" not in s)


def limits(text: str) -> str:
    """Return what a card says of limits, without the line that says what made the model."""
    return "\n".join(ln for ln in text.splitlines() if not ln.startswith("Made by ")).strip()


def main() -> None:
    """Write one variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("compared", type=Path, help="JSON of `edge-perception optimize compare`")
    parser.add_argument("bundle", type=Path, help="folder of the variant; its name is the row's")
    parser.add_argument("--set", required=True, help="name of the set, such as bev_lite_small")
    parser.add_argument("--how", required=True, help="it differs from the large one, for its card")
    parser.add_argument("--version", required=True)
    parser.add_argument("--release", type=int, required=True)
    parser.add_argument("--models", type=Path, default=MODELS, help="(%(default)s)")
    arguments = parser.parse_args()
    made = load_bundle(arguments.bundle)
    role = made.manifest.role
    measured = row_of(json.loads(arguments.compared.read_text()), made.manifest.name)
    suffix = arguments.set.removeprefix(LARGE)
    written = write(
        made, load_bundle(arguments.models / LARGE / role), arguments.models / arguments.set / role,
        f"{LARGE}_{role}{suffix}", arguments.how, measured, version=arguments.version,
        release=arguments.release,
    )  # fmt: skip
    size = written.manifest.resources.disk_bytes
    print(f"{written.path}: {size} bytes, {measured['loss_points']:.2f} points lost")


if __name__ == "__main__":
    main()
