"""Sealed bundles: only their device reads them, and only into memory."""

from __future__ import annotations

import base64
import shutil
import time

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_perception.backends import backends
from edge_perception.cli.main import main
from edge_perception.core.errors import BundleError, ConfigurationError, ModelError
from edge_perception.models import device_keys
from edge_perception.models.device_keys import KeyProvider, use_device_key
from edge_perception.models.device_keys.file import FileKey
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.golden import compare_golden
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import load_bundle
from edge_perception.models.sealed import MAGIC, is_sealed, seal, sealed_size, unseal
from edge_perception.models.triton_repository import export_triton
from edge_perception.releases import signing
from edge_perception.releases.admission import AdmissionLimits, admit
from edge_perception.releases.sealing import make_device_key, pack_sealed, read_device
from edge_perception.releases.store import ReleaseStore

HEADER = len(MAGIC) + 32 + 32 + 48
CHUNK = 65536


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    """A process has one device key; each test is a device of its own."""
    monkeypatch.setattr(device_keys, "_named", "")
    monkeypatch.setattr(device_keys, "_key", None)


@pytest.fixture
def device(tmp_path):
    path = tmp_path / "device.pem"
    return path, read_device(make_device_key(path))


@pytest.fixture
def signed(tmp_path):
    source = find_bundle("bev_lite/audio", installed_model_folders())
    shutil.copytree(source.path, tmp_path / "bundle")
    return load_bundle(tmp_path / "bundle")


@pytest.fixture
def stored(signed, device, tmp_path):
    """A sealed release in a store, and the key of its device in use."""
    key = signing.generate_key()
    signing.sign_bundle(signed, [key])
    archive = pack_sealed(signed, device[1], tmp_path / "sealed.bundle")
    use_device_key(str(device[0]))
    store = ReleaseStore(tmp_path / "store")
    trust = signing.make_trust([signing.public_text(key)])
    return store.install(archive, trust, now_ns=time.time_ns()), store


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_is_sealed_is_opened_by_its_device_only(size):
    ours, other = FileKey(X25519PrivateKey.generate()), FileKey(X25519PrivateKey.generate())
    data = np.random.default_rng(size).bytes(size)
    sealed = seal(data, ours.public)
    assert is_sealed(sealed)
    assert len(sealed) == sealed_size(size)
    assert unseal("f", sealed, ours) == data
    assert seal(data, ours.public) != sealed  # another key for each file
    with pytest.raises(BundleError, match="f: sealed for the device"):
        unseal("f", sealed, other)


def test_no_byte_can_be_changed_and_no_chunk_cut_off_or_moved():
    key = FileKey(X25519PrivateKey.generate())
    sealed = seal(bytes(3 * CHUNK), key.public)
    whole = CHUNK + 16
    for place in (len(MAGIC) + 40, HEADER - 1, HEADER, HEADER + whole, len(sealed) - 1):
        bad = bytearray(sealed)
        bad[place] ^= 1
        with pytest.raises(BundleError):
            unseal("f", bytes(bad), key)
    first, second = (sealed[HEADER + i * whole :][:whole] for i in range(2))
    rest = sealed[HEADER + 2 * whole :]
    for bad in (
        sealed[: HEADER + 2 * whole],  # the last one is missing
        sealed[:HEADER] + second + first + rest,
        sealed + first,
        sealed[:HEADER],
        sealed[:10],
        b"",
    ):
        with pytest.raises(BundleError):
            unseal("f", bad, key)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_sealed_release_runs_and_lies_open_nowhere(stored, signed, backend, tmp_path):
    if backend not in backends().specs:
        pytest.skip(f"{backend}: {backends().failures.get(backend)}")
    release, store = stored
    assert release.bundle.sealed
    assert release.sha256 == signed.sha256  # it is the same release, signed once
    cache = str(tmp_path / "cache") if backend == "openvino" else ""
    options = ModelOptions(model="", backend=backend, compile_cache=cache)
    loaded = open_bundle(release.bundle, options)
    loaded.backend.warm_up(1)
    assert all(deviation.passed for deviation in compare_golden(release.bundle, loaded.backend))
    assert admit(release.bundle, AdmissionLimits(latency_factor=1000.0, latency_runs=20), options)
    loaded.backend.close()
    if options.compile_cache:
        assert "sealed" in loaded.notes[0]
        assert not list(tmp_path.glob("cache/*"))
    graph = signed.read("model.onnx")
    for path in store.root.rglob("*"):
        assert not path.is_file() or graph[1000:1100] not in path.read_bytes()


def test_plain_and_sealed_of_the_same_content_are_not_taken_for_each_other(stored, signed):
    release, store = stored
    store.shelf.remove(release.sha256)
    store.shelf.sweep()
    plain = store.adopt(signed)
    assert not plain.bundle.sealed
    load_bundle(plain.bundle.path)


def test_without_the_key_it_is_refused_by_name(stored, monkeypatch):
    release, _ = stored
    monkeypatch.setattr(device_keys, "_key", None)
    with pytest.raises(BundleError, match="sealed for one device, and no device_key is given"):
        load_bundle(release.bundle.path)
    monkeypatch.setattr(device_keys, "_key", FileKey(X25519PrivateKey.generate()))
    with pytest.raises(BundleError, match="this one is"):
        open_bundle(release.bundle, ModelOptions(model=""))


def test_a_sealed_model_is_not_exported(stored, tmp_path):
    with pytest.raises(ModelError, match="is sealed"):
        export_triton(stored[0].bundle, tmp_path / "triton")


def test_keys_of_devices(device, tmp_path):
    path, _ = device
    assert path.stat().st_mode & 0o777 == 0o600
    for text, problem in (
        ("nobody:x", "unknown provider of device keys 'nobody'; known: file"),
        (str(tmp_path / "none.pem"), "expected a key in PEM"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            use_device_key(text)
    signing.write_key(tmp_path / "signing.pem", signing.generate_key())
    with pytest.raises(ConfigurationError, match="expected an X25519 key, got Ed25519"):
        use_device_key(f"file:{tmp_path / 'signing.pem'}")
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="for its owner only"):
        use_device_key(str(path))
    path.chmod(0o600)
    use_device_key(str(path))
    use_device_key("")
    with pytest.raises(ConfigurationError, match="this process has"):
        use_device_key("file:/another")
    for text in ("x", base64.b64encode(b"short").decode()):
        with pytest.raises(ConfigurationError, match="public key"):
            read_device(text)


def test_a_provider_needs_no_key_in_this_process(stored, monkeypatch):
    """As a PKCS#11 token or a TPM would: it only agrees on secrets."""
    release, _ = stored
    inside = device_keys._key

    class Token:
        public = inside.public

        def exchange(self, public):
            return inside.exchange(public)

    registry = device_keys.key_providers()
    provider = KeyProvider(name="token", open=lambda slot: {"slot 0": Token()}[slot])
    monkeypatch.setitem(registry.specs, "token", provider)
    monkeypatch.setattr(device_keys, "_named", "")
    use_device_key("token:slot 0")
    load_bundle(release.bundle.path)


def test_from_the_command_line(signed, tmp_path, capsys):
    path = tmp_path / "robot.pem"
    signing.write_key(tmp_path / "key.pem", key := signing.generate_key())
    signing.write_trust(tmp_path / "trust.json", signing.make_trust([signing.public_text(key)]))
    signing.sign_bundle(signed, [key])
    assert main(["models", "device-key", str(path)]) == 0
    public = capsys.readouterr().out.split()[-1]
    archive = tmp_path / "out.bundle"
    seal_it = ["models", "seal", str(signed.path), "--for", public, "--out", str(archive)]
    assert main(seal_it) == 0
    install = ["install", str(archive), "--trust", str(tmp_path / "trust.json")]
    install += ["--store", str(tmp_path / "other_store")]
    assert main(["models", *install]) == 1
    assert "no device_key" in capsys.readouterr().err
    assert main(["models", "--device-key", str(path), *install]) == 0
