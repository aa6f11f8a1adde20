"""Hostile messages and parameters: an answer soon, in bounded memory, and never a crash."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import _FLOATS, _SIZES, _TEXTS, fuzz
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.nodes.conversion import feature_from_msg


def feature(chosen: random.Random) -> None:
    """A Feature as the network may bring it."""
    tensor = msg.Tensor(
        name=chosen.choice(("bev", "T_base_sensor", "intrinsics", "image_size", *_TEXTS)),
        dtype=chosen.choice(("float32", "float64", "int32", "object", "O", "V8", "", "float16")),
        shape=[chosen.choice(_SIZES) for _ in range(chosen.randrange(5))],
        data=chosen.randbytes(chosen.choice((0, 1, 8, 48, 72, 128))),
    )
    message = msg.Feature(
        source=chosen.choice(_TEXTS), valid=chosen.random() < 0.8, tensors=[tensor]
    )
    message.header.stamp.sec = chosen.choice((0, -1, 2**31 - 1))
    if chosen.random() < 0.3:
        box = msg.DetectedObject(class_name=chosen.choice(_TEXTS))
        box.score = chosen.choice([value for value in _FLOATS if not 1e38 < abs(value) < 1e309])
        message.objects = [box] * chosen.randrange(5)
    feature_from_msg(message)


def test_hostile_input_neither_crashes_nor_hangs_nor_eats_memory():
    report = fuzz(200_000, more={"Feature": feature})
    assert not report.crashes, report.crashes[:5]
    assert not report.hangs, report.hangs[:5]
    assert report.memory_growth_mb < 300
    for name in ("Image", "PointCloud2", "AudioChunk", "parameters", "Feature"):
        assert report.refused[name] > 100, "the fuzzer must reach the refusals"
        assert report.accepted[name] > 10, "and what lies behind them"


def test_the_fuzzer_finds_a_crash():
    def broken(chosen: random.Random) -> None:
        if chosen.random() < 0.01:
            raise IndexError("out of range")

    report = fuzz(2000, more={"broken": broken})
    assert report.crashes
    assert "broken" in report.crashes[0]


NUMBERS = st.floats(width=32) | st.sampled_from(_FLOATS)


@settings(max_examples=300)
@given(
    dtype=st.sampled_from(("float32", "uint8", "int64", "object", ">f4", "datetime64[ns]"))
    | st.text(),
    shape=st.lists(st.integers(0, 2**32 - 1), max_size=6),
    data=st.binary(max_size=200),
    name=st.text(max_size=20).filter(lambda text: "\0" not in text),
)
def test_any_tensor_is_read_or_refused(dtype, shape, data, name):
    message = msg.Feature(tensors=[msg.Tensor(name=name, dtype=dtype, shape=shape, data=data)])
    try:
        read = feature_from_msg(message)
    except EdgePerceptionError:
        return
    assert all(array.nbytes <= len(data) for array in read.tensors.values())


@pytest.mark.parametrize("count", [10_000])
def test_more_tensors_than_any_model_has_are_refused(count):
    message = msg.Feature(tensors=[msg.Tensor(name="a", dtype="uint8")] * count)
    with pytest.raises(EdgePerceptionError, match="tensors"):
        feature_from_msg(message)


def test_coverage_guided_fuzzing():
    pytest.importorskip("atheris", reason="atheris is not installed")
    script = Path(__file__).parent / "atheris_compressed.py"
    done = subprocess.run(
        [sys.executable, str(script), "-runs=20000", "-rss_limit_mb=2048", "-timeout=2"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 20000 runs" in done.stderr
