"""Bundles that are damaged, forged, old, hostile or too much: refused, and the old model serves."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tarfile
import time

import numpy as np
import pytest
from fault_robot import FaultRobot
from releases import Maker, installed

from edge_perception.core.errors import BundleError, EdgePerceptionError, SignatureError, SwapError
from edge_perception.models import archive, signing
from edge_perception.models.change_plan import plan_change
from edge_perception.models.manifest import load_bundle

YEAR_NS = 365 * 86_400 * 10**9


@pytest.fixture
def maker(tmp_path):
    pytest.importorskip("onnx")
    return Maker(tmp_path)


@pytest.fixture
def robot(harness, maker):
    return lambda **parameters: FaultRobot(harness, maker, **parameters)


def install(maker, path, now_ns=None):
    return maker.store.install(path, maker.trust, now_ns=now_ns or time.time_ns())


# -- what is refused at the door --


def test_truncated_file(maker):
    path = maker.signed(maker.bundle())
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(BundleError, match=r"truncated|expected a bundle archive"):
        install(maker, path)


def test_bit_flip_in_the_archive(maker):
    path = maker.signed(maker.bundle())
    data = bytearray(path.read_bytes())
    data[data.index(b"model.onnx") + 200_000] ^= 4
    path.write_bytes(data)
    with pytest.raises(BundleError, match="sha256"):
        install(maker, path)


def test_wrong_key(maker):
    path = maker.signed(maker.bundle(), keys=[signing.generate_key()])
    with pytest.raises(SignatureError, match=r"expected 1 trusted signatures, got 0.*not trusted"):
        install(maker, path)


def test_a_stolen_key_id_does_not_help(maker):
    bundle = maker.bundle()
    signing.sign_bundle(bundle, [signing.generate_key()])
    path = bundle.path / signing.SIGNATURES_NAME
    data = json.loads(path.read_text())
    data["signatures"][0]["key_id"] = signing.key_id(signing.public_text(maker.key))
    path.write_text(json.dumps(data))
    with pytest.raises(SignatureError, match="does not fit"):
        install(maker, archive.pack(bundle, maker.folder / "forged.bundle"))


def test_edited_manifest(maker):
    bundle = maker.bundle()
    signing.sign_bundle(bundle, [maker.key])
    path = bundle.path / "manifest.json"
    path.write_text(
        path.read_text().replace('"absolute_tolerance": 0.002', '"absolute_tolerance": 9')
    )
    edited = archive.pack(load_bundle(bundle.path), maker.folder / "edited.bundle")
    with pytest.raises(SignatureError, match="manifest_sha256"):
        install(maker, edited)


def test_older_signed_release(maker):
    maker.install(version="3.0.0", release=3)
    with pytest.raises(SignatureError, match="release 2 is older than 3"):
        maker.install(version="2.0.0", release=2)


def test_expired_manifest_online_and_offline(maker):
    expires = "2030-01-01T00:00:00Z"
    end_ns = 1_893_456_000 * 10**9
    path = maker.signed(maker.bundle(changes={"expires": expires}))
    with pytest.raises(SignatureError, match="expired 2030"):
        install(maker, path, now_ns=end_ns + 10**9)
    release = install(maker, path, now_ns=end_ns - 10**9)
    # Accepted before: without a network it may be used for the days of grace, and no longer.
    maker.store.verify(release, maker.trust, now_ns=end_ns + 86_400 * 10**9)
    with pytest.raises(SignatureError, match="30 days of grace"):
        maker.store.verify(release, maker.trust, now_ns=end_ns + 31 * 86_400 * 10**9)


@pytest.mark.parametrize(
    ("now_ns", "text"),
    [(10**9, "clock says 1970.*not set"), (time.time_ns() + 10 * YEAR_NS, "expired")],
    ids=["clock at 1970", "clock ten years ahead"],
)
def test_clock(maker, now_ns, text):
    path = maker.signed(maker.bundle(changes={"expires": "2030-01-01T00:00:00Z"}))
    with pytest.raises(SignatureError, match=text):
        install(maker, path, now_ns=now_ns)


def hostile(maker, change):
    """An archive of a good bundle with members added or changed."""
    good = maker.signed(maker.bundle())
    path = maker.folder / "hostile.bundle"
    with tarfile.open(good) as source, tarfile.open(path, "w") as target:
        for member in source:
            target.addfile(member, source.extractfile(member))
        change(target)
    return path


def member(name, **fields):
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/b", "..", "sub/../../x"])
def test_path_traversal(maker, name):
    path = hostile(maker, lambda tar: tar.addfile(member(name, size=1), io.BytesIO(b"x")))
    with pytest.raises(BundleError, match="plain file name"):
        install(maker, path)
    assert not (maker.folder / "outside").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_and_devices(maker, kind):
    path = hostile(maker, lambda tar: tar.addfile(member("x", type=kind, linkname="/etc/passwd")))
    with pytest.raises(BundleError, match="link or device"):
        install(maker, path)


def test_archive_bomb(maker):
    path = hostile(maker, lambda tar: None)
    with pytest.raises(BundleError, match="expected at most 1000 bytes"):
        maker.store.install(path, maker.trust, now_ns=time.time_ns(), max_bytes=1000)
    # A member claims a terabyte; the claim alone is refused.
    data = path.read_bytes().rstrip(b"\0")
    data += b"\0" * (-len(data) % 512) + member("huge", size=2**40).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(data)
    with pytest.raises(BundleError, match="expected at most"):
        install(maker, path)


def test_too_many_files(maker):
    def change(tar):
        for number in range(100):
            tar.addfile(member(f"f{number}", size=0))

    with pytest.raises(BundleError, match="expected at most 64 files"):
        install(maker, hostile(maker, change))


@pytest.mark.timeout(30)
def test_endless_source(maker, tmp_path):
    pipe = tmp_path / "pipe.bundle"
    os.mkfifo(pipe)
    with pytest.raises(BundleError, match="expected a plain file"):
        install(maker, pipe)


def test_slow_source_is_given_up(maker, tmp_path):
    good = maker.signed(maker.bundle())
    into = tmp_path / "into"
    into.mkdir()
    ticks = iter(range(0, 10_000, 400))
    with pytest.raises(BundleError, match="was not read within 600 s"):
        archive.unpack(good, into, steady_s=lambda: float(next(ticks)))


def test_fresh_encoder_with_an_old_fusion_model(maker):
    fresh = maker.install(changes={"feature_space": "another"})
    running = {"lidar": installed("lidar").manifest, "fusion": installed("fusion").manifest}
    with pytest.raises(SwapError, match="'another': expected a fusion model that takes it"):
        plan_change(running=running, candidate=fresh, role="", stored=maker.store.releases())


# -- what is refused by the manager while the old model serves --


def test_bit_flip_in_the_store(robot, maker):
    release = maker.install(name="flipped")
    data = bytearray(release.bundle.model_path.read_bytes())
    data[len(data) // 2] ^= 1
    release.bundle.model_path.write_bytes(data)
    robot().refuses("flipped", "model.onnx", "sha256")


def edit_manifest(maker, name, change):
    """A signed release whose manifest says something else than its graph."""
    bundle = maker.bundle(name=name)
    path = bundle.path / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return install(maker, maker.signed(load_bundle(bundle.path)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m["outputs"][0].update(shape=[1, 24, 96, 65]), "graph has"),
        (lambda m: m["outputs"][0].update(dtype="float64"), "graph has"),
        (lambda m: m["inputs"][0].update(shape=[1, 384, 256, 11]), "graph has"),
    ],
    ids=["wrong shape", "wrong dtype", "wrong layout"],
)
def test_graph_that_is_not_what_the_manifest_says(robot, maker, change, text):
    edit_manifest(maker, "wrong", change)
    robot().refuses("wrong", text)


def broken_model(maker, name, make):
    """A signed release with another ONNX file in place of its own."""
    from edge_perception.models.manifest import file_entry

    bundle = maker.bundle(name=name)
    make(bundle.model_path)
    path = bundle.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["model.onnx"] = dataclasses.asdict(file_entry(bundle.model_path))
    path.write_text(json.dumps(manifest))
    return install(maker, maker.signed(load_bundle(bundle.path)))


def edited_graph(edit):
    def make(path):
        import onnx

        model = onnx.load(str(path))
        edit(model)
        path.write_bytes(model.SerializeToString())

    return make


def test_unsupported_opset(robot, maker):
    def edit(model):
        model.opset_import[0].version = 999

    broken_model(maker, "opset", edited_graph(edit))
    robot().refuses("opset", "refused in load")


def test_external_data_pointing_outside(robot, maker):
    def edit(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../../../etc/passwd"

    broken_model(maker, "external", edited_graph(edit))
    robot().refuses("external", "etc/passwd", "not in the manifest")


def test_a_file_that_is_no_model(robot, maker):
    broken_model(maker, "garbage", lambda path: path.write_bytes(os.urandom(5000)))
    robot().refuses("garbage", "expected an ONNX model")


def set_first_weight(value):
    def edit(model):
        from onnx import numpy_helper

        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor).copy()
            if values.dtype == np.float32 and values.ndim > 1:
                values.reshape(-1)[:] = value
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                return

    return edit


def test_nan_on_golden_input(robot, maker):
    broken_model(maker, "nan", edited_graph(set_first_weight(np.nan)))
    robot().refuses("nan", "golden outputs", "differ by more")


@pytest.mark.parametrize(("shift", "passes"), [(0.9, True), (1.1, False)], ids=["under", "over"])
def test_output_just_over_and_just_under_tolerance(maker, shift, passes):
    from edge_perception.models.golden import compare_arrays

    gates = maker.bundle().manifest.gates
    expected = np.linspace(-3, 3, 1000, dtype=np.float32)
    allowed = gates.absolute_tolerance + gates.relative_tolerance * np.abs(expected)
    deviation = compare_arrays("bev", expected + shift * allowed, expected, gates)
    assert deviation.passed is passes


def test_memory_over_budget(robot, maker):
    maker.install(name="large")
    reason = robot(admission_memory_mb=16).refuses("large", "16 MB")
    assert "large 9.9.9" in reason


def test_memory_over_what_the_manifest_says(robot, maker):
    maker.install(name="liar", changes={"resources": {"peak_memory_bytes": 1_000}})
    import edge_perception.models.admission as admission

    bundle = maker.store.find("liar").bundle
    measured = admission.Admission(
        load_s=0.1, warm_up_s=0.1, latency_ms=1.0, peak_memory_bytes=60 * 2**20
    )
    with pytest.raises(EdgePerceptionError, match="peak memory 60 MB, its manifest says 0 MB"):
        admission.check_admission(
            bundle, measured, admission.AdmissionLimits(), free_bytes=8 * 2**30
        )
    with pytest.raises(EdgePerceptionError, match="needs 60 MB, free are 64 MB"):
        admission.check_admission(
            maker.bundle(name="room", changes={"resources": {}}),
            measured,
            admission.AdmissionLimits(),
            free_bytes=64 * 2**20,
        )


def slow_loop(model):
    """Prepend a loop of very many steps to the graph: it loads, and never ends its first run."""
    import onnx
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["condition_out"]),
            helper.make_node("Sqrt", ["value"], ["value_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("condition_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["looped" if i == name else i for i in node.input]
    model.graph.initializer.append(helper.make_tensor("steps", TensorProto.INT64, [], [2**40]))
    model.graph.initializer.append(helper.make_tensor("go", TensorProto.BOOL, [], [True]))
    loop = helper.make_node("Loop", ["steps", "go", name], ["looped"], body=body)
    nodes = [loop, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)


def slow_constants(model):
    """Add constants that the runtime folds while it loads: a chain of large products."""
    from onnx import helper, numpy_helper

    size = 1500
    weights = np.full((size, size), 1.0 / size, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "dense"))
    last = "dense"
    nodes = []
    for number in range(3000):
        nodes.append(helper.make_node("MatMul", [last, "dense"], [f"dense_{number}"]))
        last = f"dense_{number}"
    nodes.append(helper.make_node("ReduceMean", [last], ["dense_mean"], keepdims=0))
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before_mean" if o == name else o for o in node.output]
        node.input[:] = ["before_mean" if i == name else i for i in node.input]
    nodes.append(helper.make_node("Add", ["before_mean", "dense_mean"], [name]))
    model.graph.node.extend(nodes)


@pytest.mark.parametrize(
    ("edit", "stage"),
    [(slow_constants, "load"), (slow_loop, "warm-up")],
    ids=["hang in load", "hang in warm-up"],
)
def test_hang(robot, maker, edit, stage):
    broken_model(maker, "hangs", edited_graph(edit))
    robot(admission_deadline_s=8.0).refuses("hangs", f"hung in {stage}", "helper killed")


def test_killed_helper(robot, maker, monkeypatch):
    import edge_perception.models.admission as admission

    maker.install(name="killed")
    ready = robot()
    real = admission.subprocess.Popen

    class Killed(real):
        def communicate(self, *args, **kwargs):
            self.kill()
            return super().communicate(None, timeout=kwargs.get("timeout"))

    monkeypatch.setattr(admission.subprocess, "Popen", Killed)
    ready.refuses("killed", "helper ended", "SIGKILL")
