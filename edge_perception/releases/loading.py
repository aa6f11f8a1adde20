"""Which bundle a node serves: the store's current release, or one by name or digest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edge_perception.backends import Backend, backends
from edge_perception.core.errors import (
    ClockNotSetError,
    DeviceKeyError,
    EdgePerceptionError,
    ModelError,
    StoreError,
    UnknownNameError,
)
from edge_perception.models.device_keys import use_device_key
from edge_perception.models.device_plan import planned_options
from edge_perception.models.folders import find_bundle, find_digest
from edge_perception.models.loading import (
    LoadedModel,
    ModelOptions,
    backend_options,
    closed_on_failure,
    model_folders,
    open_bundle,
)
from edge_perception.models.manifest import Bundle
from edge_perception.models.quiet import await_gap, quietly
from edge_perception.models.sessions import warm_up_by_run
from edge_perception.releases.shelf import bundle_by_digest
from edge_perception.releases.signing import SIGNATURES_NAME, Trust
from edge_perception.releases.starts import Starts
from edge_perception.releases.store import ReleaseStore
from edge_perception.releases.verifying import check_release, signatures_required, trust_roots

# A start that ends so says nothing of the release.
_MACHINES_FAULT = (ClockNotSetError, DeviceKeyError)


def load_model(
    options: ModelOptions,
    *,
    role: str,
    modality: str = "",
    name: str = "",
    version: str = "",
    sha256: str = "",
    beside: bool = False,
    profiling: bool = False,
    instead_of: Backend | None = None,
) -> LoadedModel:
    """Find, verify, load and warm a model.

    Args:
        options: where to look and how to run.
        role: name of the source, or fusion.
        modality: role that the bundle must have; empty: `role`.
        name: bundle to load instead of the store's current one or `options.model`.
        version: the version it must have; empty: any.
        sha256: the digest it must have; empty: any.
        beside: another model serves meanwhile, which must not wait for this one.
        profiling: the session notes the time of every operator, where its runtime can.
        instead_of: a session that hangs, which is not shared.

    Raises:
        ModelError: no such bundle, or it is damaged, of another role, or does not run here.
        UnknownNameError: the backend does not exist.
    """
    use_device_key(options.device_key)
    planned = planned_options(options, role)
    if beside:
        await_gap()  # what follows holds the interpreter's lock for some milliseconds
    store = open_store(options)
    # Where these are wrong no release starts here, so it is said before a start is counted.
    roots = _roots(options)
    backends()[options.backend]
    backend_options(options)

    def load(chosen: ModelOptions, sha256: str) -> LoadedModel:
        return _load(
            chosen,
            store,
            roots,
            role,
            modality,
            name,
            version,
            sha256,
            beside=beside,
            profiling=profiling,
            instead_of=instead_of,
        )

    with _current_started(store, role, named=bool(name or sha256)) as current:
        try:
            loaded = load(planned.options, sha256 or current)
        except EdgePerceptionError as error:
            if planned.options == options:
                raise
            note = f"device plan not followed: {error}"
            loaded = load(options, sha256 or current)
            return replace(loaded, notes=(note, *loaded.notes))
    notes = (planned.note,) if planned.note else ()
    if planned.sha256 not in ("", loaded.bundle.sha256):
        served = f"{loaded.bundle.manifest.name} {loaded.bundle.manifest.version}"
        notes = (f"the device plan was measured with another model than {served}",)
    return replace(loaded, notes=(*notes, *loaded.notes))


def find_verified(options: ModelOptions, name: str) -> Bundle:
    """Return the bundle that `load_model` would load by a name; nothing of it runs.

    Args:
        options: where to look.
        name: of the bundle.

    Raises:
        ModelError: as `load_model`.
    """
    use_device_key(options.device_key)
    store = open_store(options)
    roots = _roots(options)
    found = _find(options, store, name=name, sha256="")
    return _verified(found, options, store, roots)


def _roots(options: ModelOptions) -> tuple[Trust, ...]:
    """Return who is trusted; empty: nobody is asked for.

    Raises:
        SignatureError: the trust file cannot be read.
        ConfigurationError: signatures are asked for, and there is nothing to check them with.
    """
    signatures_required(options.trust_file, options.require_signed)
    return trust_roots(options.trust_file) if options.trust_file else ()


@contextmanager
def _current_started(store: ReleaseStore | None, role: str, *, named: bool) -> Iterator[str]:
    """Count a start with the store's current release of a role until it has loaded.

    Gives its digest; empty: there is none, or another one is named.
    """
    if named or store is None or not (store.root / "current").exists():
        yield ""
        return
    starts = Starts(store)
    sha256 = starts.starting(role)
    try:
        yield sha256
    except _MACHINES_FAULT:
        starts.started(role, sha256)
        raise
    starts.started(role, sha256)


def _load(
    options: ModelOptions,
    store: ReleaseStore | None,
    roots: Sequence[Trust],
    role: str,
    modality: str,
    name: str,
    version: str,
    sha256: str,
    *,
    beside: bool,
    profiling: bool,
    instead_of: Backend | None,
) -> LoadedModel:
    found = _find(options, store, name=name, sha256=sha256)
    bundle = _verified(found, options, store, roots)
    manifest = bundle.manifest
    if manifest.role != (wanted := modality or role):
        raise ModelError(f"{manifest.name}: expected a model of role {wanted}, got {manifest.role}")
    if version and manifest.version != version:
        raise ModelError(f"{manifest.name}: expected version {version}, got {manifest.version}")
    loaded = open_bundle(bundle, options, beside=beside, profiling=profiling, instead_of=instead_of)
    with closed_on_failure(loaded.backend):
        if beside:
            warm_up_by_run(loaded.backend, manifest.gates.warm_up_runs, quietly)
        else:
            loaded.backend.warm_up(manifest.gates.warm_up_runs)
    return loaded


def open_store(options: ModelOptions) -> ReleaseStore | None:
    """Return the store of a node, where it has one."""
    path = Path(options.model_store).expanduser() if options.model_store else None
    # Who only reads makes no store: an empty folder is none yet.
    return ReleaseStore(path) if path is not None and (path / "releases").is_dir() else None


def _find(options: ModelOptions, store: ReleaseStore | None, *, name: str, sha256: str) -> Bundle:
    """By digest where one is given, else by name."""
    folders = model_folders(options.model_folders)
    if sha256:
        if store is not None and store.shelf.has(sha256):
            return bundle_by_digest(store.root, sha256)
        return find_digest(sha256, folders)  # what came with the software serves too
    return find_bundle(name or options.model, folders)


def _verified(
    bundle: Bundle, options: ModelOptions, store: ReleaseStore | None, roots: Sequence[Trust]
) -> Bundle:
    """Return the bundle where this machine may load it, wherever it was found.

    Raises:
        ModelError: it is not signed as this machine asks, has expired, is older than what served,
            or is in quarantine.
    """
    reason = store.notes.quarantined(bundle.sha256) if store is not None else ""
    if reason:
        raise StoreError(
            f"{bundle.manifest.name} {bundle.manifest.version}: in quarantine: {reason}"
        )
    if not roots:
        return bundle
    bundle = _with_signatures(bundle, options)
    check_release(
        bundle,
        roots,
        now_ns=time.time_ns(),
        store=store,
        required=signatures_required(options.trust_file, options.require_signed),
    )
    return bundle


def _with_signatures(bundle: Bundle, options: ModelOptions) -> Bundle:
    """Take the installed copy of an unsigned one: stores of older software kept no signatures."""
    if (bundle.path / SIGNATURES_NAME).is_file():
        return bundle
    try:
        return find_digest(bundle.sha256, model_folders(options.model_folders))
    except (ModelError, UnknownNameError):
        return bundle
