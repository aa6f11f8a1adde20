"""Bundles that are damaged, forged, old, hostile or too much: refused, and the old model serves.

All through one set of real nodes: a refusal leaves them as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import subprocess
import tarfile
import time
from types import SimpleNamespace

import numpy as np
import pytest
from fault_robot import FaultRobot
from releases import Maker

from edge_perception import srv
from edge_perception.core.errors import BundleError, EdgePerceptionError, SignatureError
from edge_perception.models.golden import read_golden, save_arrays
from edge_perception.models.manifest import file_entry, load_bundle
from edge_perception.nodes.changes import steps
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager import services
from edge_perception.releases import archive, signing
from edge_perception.releases.admission import AdmissionLimits

YEAR_NS = 365 * 86_400 * 10**9
DAY_NS = 86_400 * 10**9
STRANGER = "stranger"


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    pytest.importorskip("onnx")
    maker = Maker(tmp_path_factory.mktemp("bundle_faults"))
    # Single sweeps come to fusion here, too few to be valid: a burn would change models in between.
    maker.asks(watch={"soak_s": 0.0})
    return maker


@pytest.fixture(scope="module")
def running(shared_harness, maker):
    fusion = {**maker.node_parameters, "sources": ["lidar"]}
    shared_harness.add(FusionNode, parameters=fusion)
    return FaultRobot(shared_harness, maker)


@pytest.fixture
def robot(running, monkeypatch):
    """The running nodes; the manager with other limits where a test needs them."""

    def limited(**limits):
        merged = AdmissionLimits(**{"latency_factor": 50.0, **limits})
        monkeypatch.setattr(running.manager, "_limits", SimpleNamespace(config=merged))
        return running

    return limited


def install(maker, path, now_ns=None):
    return maker.store.install(path, maker.trust, now_ns=now_ns or time.time_ns())


def refused_at_the_door(robot, maker, path, error, text, now_ns=None):
    """The store does not take it, the manager does not know it, the old model serves on."""
    before = sorted(maker.root.glob("*/*"))
    with pytest.raises(error, match=text):
        install(maker, path, now_ns)
    assert sorted(maker.root.glob("*/*")) == before
    robot().refuses(STRANGER, "unknown model")


@contextlib.contextmanager
def clock_of_the_system(now_ns):
    """The computer's clock says another time, as the manager reads it."""
    other = SimpleNamespace(**vars(time) | {"time_ns": lambda: now_ns})
    with pytest.MonkeyPatch.context() as patched:
        for module in (services, steps):
            patched.setattr(module, "time", other)
        yield


# -- what is refused at the door --


def test_truncated_file(robot, maker):
    path = maker.signed(maker.bundle(name=STRANGER))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    text = r"truncated|expected a bundle archive"
    refused_at_the_door(robot, maker, path, BundleError, text)


def test_bit_flip_in_the_archive(robot, maker):
    path = maker.signed(maker.bundle(name=STRANGER))
    data = bytearray(path.read_bytes())
    data[data.index(b"model.onnx") + 200_000] ^= 4
    path.write_bytes(data)
    refused_at_the_door(robot, maker, path, BundleError, "sha256")


def wrong_key(maker, name=STRANGER):
    bundle = maker.bundle(name=name)
    signing.sign_bundle(bundle, [signing.generate_key()])
    return bundle, r"expected 1 trusted signatures, got 0.*not trusted"


def stolen_key_id(maker, name=STRANGER):
    bundle, _ = wrong_key(maker, name)
    path = bundle.path / signing.SIGNATURES_NAME
    data = json.loads(path.read_text())
    data["signatures"][0]["key_id"] = signing.key_id(signing.public_text(maker.key))
    path.write_text(json.dumps(data))
    return bundle, "does not fit"


def edited(maker, name=STRANGER):
    bundle = maker.bundle(name=name)
    signing.sign_bundle(bundle, [maker.key])
    path = bundle.path / "manifest.json"
    path.write_text(
        path.read_text().replace('"absolute_tolerance": 0.002', '"absolute_tolerance": 9')
    )
    return load_bundle(bundle.path), "manifest_sha256"


def unsigned(maker, name=STRANGER):
    bundle = maker.bundle(name=name)
    (bundle.path / signing.SIGNATURES_NAME).unlink(missing_ok=True)
    return bundle, "unsigned bundle"


FORGED = pytest.mark.parametrize(
    "forge",
    [wrong_key, stolen_key_id, edited, unsigned],
    ids=["wrong key", "stolen key id", "edited manifest", "unsigned"],
)


@FORGED
def test_forged_archive(robot, maker, forge):
    bundle, text = forge(maker)
    path = archive.pack(bundle, maker.folder / "forged.bundle")
    refused_at_the_door(robot, maker, path, SignatureError, text)


@FORGED
def test_forged_release_that_somebody_put_into_the_store(robot, maker, forge):
    name = f"forged_{forge.__name__}"
    bundle, _ = forge(maker, name)
    maker.store._keep(load_bundle(bundle.path))  # as root would: past the door
    reason = robot().refuses(name, name)
    assert "signature" in reason


def test_older_signed_release(robot, maker):
    old = maker.signed(maker.bundle(name="aged", version="2.0.0", release=2))
    newer = maker.install(name="aged", version="3.0.0", release=3)
    maker.store.served({"lidar": newer.sha256})
    with pytest.raises(SignatureError, match="release 2 is older than 3"):
        install(maker, old)
    robot().refuses("aged", "expected version 2.0.0, got 3.0.0", version="2.0.0")
    past = load_bundle(maker.folder / "made" / "lidar-aged-2.0.0-2")
    maker.store._keep(past)  # past the door
    robot().refuses("aged", "release 2 is older than 3", version="2.0.0")


def test_expired_manifest_online_and_offline(robot, maker):
    expires = "2030-01-01T00:00:00Z"
    end_ns = 1_893_456_000 * 10**9
    path = maker.signed(maker.bundle(name="milk", changes={"expires": expires}))
    with pytest.raises(SignatureError, match="expired 2030"):
        install(maker, path, now_ns=end_ns + 10**9)
    robot().refuses("milk", "unknown model")
    install(maker, path, now_ns=end_ns - 10**9)
    # Accepted before: without a network it may be used for the days of grace, and no longer.
    request = srv.VerifyModel.Request(name="milk")
    call = robot().harness.call
    with clock_of_the_system(end_ns + DAY_NS):
        assert call(srv.VerifyModel, "/model_manager/verify_model", request).success
    with clock_of_the_system(end_ns + 31 * DAY_NS):
        answer = call(srv.VerifyModel, "/model_manager/verify_model", request)
        assert "30 days of grace" in answer.problems[0]
        robot().refuses("milk", "30 days of grace")


@pytest.mark.parametrize(
    ("now_ns", "text"),
    [(10**9, "clock says 1970.*not set"), (time.time_ns() + 10 * YEAR_NS, "expired")],
    ids=["clock at 1970", "clock ten years ahead"],
)
def test_clock(robot, maker, now_ns, text):
    name = "dated" if now_ns == 10**9 else "dated_ahead"
    path = maker.signed(maker.bundle(name=name, changes={"expires": "2030-01-01T00:00:00Z"}))
    with pytest.raises(SignatureError, match=text):
        install(maker, path, now_ns=now_ns)
    install(maker, path)
    with clock_of_the_system(now_ns):
        robot().refuses(name, text.split(".*")[0])


def hostile(maker, change):
    """An archive of a good bundle with members added or changed."""
    good = maker.signed(maker.bundle(name=STRANGER))
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
def test_path_traversal(robot, maker, name):
    path = hostile(maker, lambda tar: tar.addfile(member(name, size=1), io.BytesIO(b"x")))
    refused_at_the_door(robot, maker, path, BundleError, "plain file name")
    assert not (maker.folder / "outside").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_and_devices(robot, maker, kind):
    path = hostile(maker, lambda tar: tar.addfile(member("x", type=kind, linkname="/etc/passwd")))
    refused_at_the_door(robot, maker, path, BundleError, "link or device")


def test_archive_bomb(robot, maker):
    path = hostile(maker, lambda tar: None)
    with pytest.raises(BundleError, match="expected at most 1000 bytes"):
        maker.store.install(path, maker.trust, now_ns=time.time_ns(), max_bytes=1000)
    # A member claims a terabyte; the claim alone is refused.
    data = path.read_bytes().rstrip(b"\0")
    data += b"\0" * (-len(data) % 512) + member("huge", size=2**40).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(data)
    refused_at_the_door(robot, maker, path, BundleError, "expected at most")


def test_too_many_files(robot, maker):
    def change(tar):
        for number in range(100):
            tar.addfile(member(f"f{number}", size=0))

    path = hostile(maker, change)
    refused_at_the_door(robot, maker, path, BundleError, "expected at most 64 files")


@pytest.mark.timeout(30)
def test_endless_source(robot, maker, tmp_path):
    pipe = tmp_path / "pipe.bundle"
    os.mkfifo(pipe)
    refused_at_the_door(robot, maker, pipe, BundleError, "expected a plain file")


def test_slow_source_is_given_up(robot, maker, monkeypatch):
    path = maker.signed(maker.bundle(name=STRANGER))
    ticks = iter(range(0, 100_000, 400))
    slow = functools.partial(archive.unpack, steady_s=lambda: float(next(ticks)))
    monkeypatch.setattr("edge_perception.releases.store.unpack", slow)
    text = "was not read within 600 s"
    refused_at_the_door(robot, maker, path, BundleError, text)


# -- what is refused by the manager while the old model serves --


def test_fresh_encoder_with_an_old_fusion_model(robot, maker):
    maker.install(name="fresh", changes={"feature_space": "another"})
    robot().refuses("fresh", "'another': expected a fusion model that takes it")


def test_bit_flip_in_the_store(robot, maker):
    release = maker.install(name="flipped", scale=1.0003)  # shares its blob with none
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
def test_graph_that_is_not_what_the_manifest_says(robot, maker, change, text, request):
    name = request.node.callspec.id.replace(" ", "_")
    edit_manifest(maker, name, change)
    robot().refuses(name, text)


def with_file(bundle, name):
    """Let the manifest say what a file is now."""
    path = bundle.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = dataclasses.asdict(file_entry(bundle.path / name))
    path.write_text(json.dumps(manifest))
    return load_bundle(bundle.path)


def broken_model(maker, name, make):
    """A signed release with another ONNX file in place of its own."""
    bundle = maker.bundle(name=name)
    make(bundle.model_path)
    return install(maker, maker.signed(with_file(bundle, "model.onnx")))


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
def test_output_just_over_and_just_under_tolerance(robot, maker, shift, passes):
    name = "within" if passes else "beyond"
    bundle = maker.bundle(name=name)
    gates = bundle.manifest.gates
    _, golden = read_golden(bundle)
    shifted = {}
    for output, values in golden.items():
        gate = gates.outputs.get(output, gates)
        allowed = gate.absolute_tolerance + gate.relative_tolerance * np.abs(values)
        shifted[output] = (values + shift * allowed).astype(values.dtype)
    path = bundle.path / bundle.manifest.golden.outputs
    save_arrays(path, shifted)
    install(maker, maker.signed(with_file(bundle, path.name)))
    if not passes:
        robot().refuses(name, "golden outputs", "differ by more")
        return
    answer = robot().swap(name)
    assert answer.success, answer.reason
    robot().serves("9.9.9")


def test_memory_over_budget(robot, maker):
    maker.install(name="large")
    reason = robot(memory_mb=16).refuses("large", "16 MB")
    assert "large 9.9.9" in reason


def test_memory_over_what_the_manifest_says(robot, maker):
    maker.install(name="liar", changes={"resources": {"peak_memory_bytes": 1_000}})
    import edge_perception.releases.admission as admission

    bundle = maker.store.find("liar").bundle
    measured = admission.Admission(
        load_s=0.1,
        warm_up_s=0.1,
        latency_ms=1.0,
        latency_p99_ms=1.0,
        runs=100,
        provider="CPUExecutionProvider",
        peak_memory_bytes=60 * 2**20,
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
    name = f"hangs_{edit.__name__}"
    broken_model(maker, name, edited_graph(edit))
    robot(deadline_s=6.0).refuses(name, f"hung in {stage}", "helper killed")


def test_killed_helper(robot, maker, monkeypatch):
    maker.install(name="killed")
    ready = robot()
    real = subprocess.Popen

    class Killed(real):
        def communicate(self, *args, **kwargs):
            self.kill()
            return super().communicate(None, timeout=kwargs.get("timeout"))

    monkeypatch.setattr(subprocess, "Popen", Killed)
    ready.refuses("killed", "helper ended", "SIGKILL")
