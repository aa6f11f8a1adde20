"""What a file that no family fits is for, and what to change: said where it is refused."""

from __future__ import annotations

import math

from edge_perception.models.adapters._tagger_graph import takes_samples
from edge_perception.models.foreign import ForeignModel
from edge_perception.models.graph import Shapes

_TEXTS = ("input_ids", "token_type", "text", "prompt", "caption")
_MOST_CHANNELS = 12  # of a return or of a range image: coordinates, intensity, time, ring, …
_BYTES = 2  # onnx.TensorProto.UINT8
_FEWEST_POINTS = 256  # a pillar has fewer
_QUERIES = {"cls_score0", "bbox_pred0", "dir_cls_pred0"}


def other_task(foreign: ForeignModel) -> str:
    """Say what a network may be for and what to change; empty: nothing tells.

    Args:
        foreign: the file, which no family fits.
    """
    looks = (
        _of_texts, _with_memory, _of_pictures, _of_queries, _of_returns, _of_sounds, _of_channels,
    )  # fmt: skip
    return next((text for look in looks if (text := look(foreign))), "")


def _of_texts(foreign: ForeignModel) -> str:
    texts = [n for n in foreign.inputs if any(word in n.lower() for word in _TEXTS)]
    if not texts:
        return ""
    return (
        f"input '{texts[0]}' takes texts, as CLAP and other networks do that compare with words "
        "(zero-shot): nothing gives texts on a vehicle; export it with the words of its classes "
        "inside, so that scores of fixed classes come out"
    )


def _with_memory(foreign: ForeignModel) -> str:
    """Find an output that goes in again: `state` and `stateN`, `h` and `hn`."""
    if foreign.size is not None:
        return ""
    for given in foreign.inputs[1:]:
        for made in foreign.outputs:
            shape, other = foreign.shapes[given], foreign.shapes[made]
            alike = len(shape) == len(other) >= 2 and all(
                -1 in pair or pair[0] == pair[1] for pair in zip(shape, other, strict=True)
            )
            if alike and made.lower().startswith(given[:1].lower()):
                return (
                    f"output '{made}' is input '{given}' of the next call: a network with a "
                    "memory, as voice activity detectors (Silero VAD) and recurrent networks are; "
                    "here each window is looked at for itself: take a tagger of sounds on whole "
                    "windows (YAMNet, PANNs, a spectrogram transformer), which hears speech too"
                )
    return ""


def _of_pictures(foreign: ForeignModel) -> str:
    """Say what else a network on pictures may be for, by its largest output."""
    shapes = foreign.output_shapes()
    if foreign.size is None or not shapes:
        return ""
    largest = max(shapes.values(), key=math.prod)
    squeezed = [length for length in largest if length > 1]
    if len(squeezed) == 1:
        return f"{squeezed[0]} numbers a picture and no boxes: as of a classifier"
    if len(largest) in (3, 4) and largest[-2:] == foreign.size[::-1]:
        return "a map as large as the picture: as of segmentation or depth"
    return ""


def _of_queries(foreign: ForeignModel) -> str:
    if not set(foreign.outputs) >= _QUERIES:
        return ""
    return (
        "boxes of queries, as TransFusion and BEVFusion have them: no adapter reads these; "
        "CenterPoint and PointPillars are read, others with --adapter wasm --module FILE"
    )


def _of_returns(foreign: ForeignModel) -> str:
    """Find classes of single returns: of a range image, or of a list of points."""
    for given in foreign.inputs:
        for made in foreign.outputs:
            if _labels_returns(foreign.shapes, given, made):
                return (
                    f"output '{made}' has a class for each place of input '{given}': as of "
                    "segmentation of LiDAR (RangeNet++, SalsaNext, PointNet): this package "
                    "publishes boxes; take a detector on pillars (PointPillars, CenterPoint)"
                )
    return ""


def _labels_returns(shapes: Shapes, given: str, made: str) -> bool:
    one, other = shapes[given], shapes[made]
    if len(one) == 4:  # a range image (1, channels, rows, columns); classes with an axis or without
        return (
            0 < one[1] <= _MOST_CHANNELS
            and one[1] != 3
            and len(other) in (3, 4)
            and other[-2:] == one[2:]
            and max(one[2:]) > 1
        )
    if len(one) not in (2, 3) or len(other) != len(one):
        return False
    for channels, points in ((one[-1], one[-2]), (one[-2], one[-1])):
        many = points == -1 or points > _FEWEST_POINTS
        if 3 <= channels <= _MOST_CHANNELS and many and points in other[-2:]:
            return True
    return False


def _of_sounds(foreign: ForeignModel) -> str:
    """Say of a network on samples why its outputs are no classes that are known."""
    if len(foreign.inputs) != 1 or not takes_samples(foreign.shapes[foreign.inputs[0]]):
        return ""
    kinds = {v.name: v.type.tensor_type.elem_type for v in foreign.model.graph.input}
    if kinds[foreign.inputs[0]] == _BYTES:
        return (
            f"input '{foreign.inputs[0]}' takes bytes, as of a file: give the network from behind "
            "its decoding, which takes a picture (1, 3, height, width) or samples"
        )
    given = foreign.said.get("labels", ())
    counts = sorted({s[-1] for n in foreign.outputs if (s := foreign.shapes[n]) and s[-1] > 1})
    told = f"{len(given)} names are given" if given else "no names are given"
    return (
        f"sounds come in, and {' or '.join(map(str, counts)) or 'unknown'} numbers out, which is "
        f"neither AudioSet's 521 or 527 classes nor what --labels names ({told}): give --labels "
        "FILE with a name for each, or, where they are an embedding (CLAP, VGGish, BEATs without "
        "its head), export the network with its classifier"
    )


def _of_channels(foreign: ForeignModel) -> str:
    """Say of a network on maps of other than three channels what is expected."""
    shape = foreign.shapes[foreign.inputs[0]] if len(foreign.inputs) == 1 else ()
    if len(shape) != 4 or 3 in shape[1:]:
        return ""
    if shape[1] == 1:
        return (
            "one channel comes in: where it is a grey picture, export the network with three (a "
            "first layer that takes their mean); where it is a spectrogram, give its class names "
            "with --labels FILE"
        )
    return f"{shape[1]} channels come in: of pictures three are expected, red, green and blue"
