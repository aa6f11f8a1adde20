"""From a bundle to a model that can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from edge_perception.backends import (
    DEFAULT_BACKEND,
    PRECISIONS,
    Backend,
    BackendInfo,
    BackendOptions,
    BackendSpec,
    backends,
    load_model_bytes,
)
from edge_perception.backends.micro_batches import MicroBatches
from edge_perception.backends.one_at_a_time import OneAtATime
from edge_perception.core.errors import BackendError, ConfigurationError, ModelError
from edge_perception.core.parameter import parameter
from edge_perception.models.compile_cache import private_folder
from edge_perception.models.folders import installed_model_folders
from edge_perception.models.free_batch import prove_batches, with_free_batch
from edge_perception.models.kept import has_room
from edge_perception.models.manifest import Bundle, TensorSpec
from edge_perception.models.quiet import directly, quietly
from edge_perception.models.sessions import SESSIONS, Opened

DRIFT_REFERENCE = "drift.json"  # file of a bundle: statistics of good times
SIGNED = ("auto", "true", "false")
PREPROCESS = ("auto", "cpu", "gpu")
# Who is on the ROS domain can clean a node up, set its parameters and configure it again.
HELD = (
    "trust_file is set, so what is loaded, how it is checked and who is asked holds from the start "
    "on"
)
# In every ONNX file that names others: the key of a tensor's place, and compiled parts. Where they
# are only names of something else, the graph is read once more and nothing is found.
_NAMES_FILES = (b"\x08location", b"EPContext")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model a node serves and how it runs."""

    model: str = parameter(
        text="bundle: a folder below one of the model folders, or a manifest's name"
    )
    model_folders: tuple[str, ...] = parameter((), "folders searched before the installed ones")
    model_store: str = parameter("", "folder of releases; its current release goes before `model`")
    trust_file: str = parameter(
        "", "trusted keys; with it the node verifies who released what it loads"
    )
    require_signed: str = parameter(
        "auto",
        "whether an unsigned model is refused; auto: it is where a trust file is given",
        choices=SIGNED,
    )
    manager_key: str = parameter(
        "",
        "public key of the manager whose requests are taken where signatures are asked for; "
        "empty: manager.pub of the store",
    )
    device_key: str = parameter(
        "",
        "key of this device, which opens sealed models: a file or PROVIDER:WHAT; one for a process",
    )
    backend: str = parameter(DEFAULT_BACKEND, "inference runtime")
    provider: str = parameter(
        "",
        "execution provider or device, or several in the order to try, such as tensorrt,cuda,cpu, "
        "or auto; empty: the runtime's on the CPU",
    )
    provider_options: tuple[str, ...] = parameter(
        (), "options of providers, each as provider.name=value"
    )
    strict_provider: bool = parameter(
        False, "a provider or precision that is not to be had is refused, not skipped with a WARN"
    )
    precision: str = parameter(
        "fp32",
        "of the arithmetic, where the runtime has a choice; auto: the runtime's own",
        choices=PRECISIONS,
    )
    preprocess: str = parameter(
        "auto",
        "where frames become inputs of the model; auto: on the GPU where runtime and modality have "
        "kernels for it",
        choices=PREPROCESS,
    )
    device_plan: str = parameter(
        "", "file of `edge-perception tune`: how models run best on this machine; empty: none"
    )
    compile_cache: str = parameter(
        "",
        "folder for what the runtime compiles; empty: it compiles at each start; with a trust_file "
        "only one that nobody but this user and root may write",
    )
    threads: int = parameter(1, "inference threads", unit="threads", low=1, high=64)
    share_session: bool = parameter(
        True, "sources of one process that run the same model in the same way share its session"
    )
    batch: int = parameter(
        1,
        "most frames, of sources that share a session, in one run of the model; it stops by itself "
        "while that takes longer than one by one; 1: off",
        unit="frames",
        low=1,
        high=64,
    )
    batch_wait_ms: float = parameter(
        2.0,
        "how long a frame waits for those of other sources that are about to come",
        unit="ms",
        low=0.0,
        high=1000.0,
    )
    keep_previous_warm: bool = parameter(
        True, "after a change the model before stays loaded, for a rollback"
    )
    keep_previous_reserve_mb: int = parameter(
        256,
        "memory free on the machine below which the model before is not kept",
        unit="MB",
        low=0,
        high=2**20,
    )

    @property
    def held(self) -> str:
        """Why none of these may change after the start of the process; empty: they may."""
        return HELD if self.trust_file else ""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A bundle with a warm session."""

    bundle: Bundle
    backend: Backend
    info: BackendInfo
    notes: tuple[str, ...] = ()  # what was asked for and is not so, beyond what the runtime says
    preprocess: str = "cpu"  # `auto`, `gpu`: the session runs kernels for it, for this user alone


def model_folders(configured: Sequence[str]) -> list[Path]:
    """Return where bundles are looked for: the configured folders, then the installed ones."""
    return [*(Path(folder).expanduser() for folder in configured), *installed_model_folders()]


def may_keep(options: ModelOptions) -> bool:
    """Whether a model that leaves may stay loaded."""
    return has_room(keep=options.keep_previous_warm, reserve_mb=options.keep_previous_reserve_mb)


def backend_options(options: ModelOptions) -> BackendOptions:
    """Return the options of a session.

    Raises:
        ConfigurationError: an option of a provider is not written as provider.name=value.
    """
    by_provider: dict[str, dict[str, str]] = {}
    for text in options.provider_options:
        name, equals, value = text.partition("=")
        provider, dot, option = name.partition(".")
        if not (equals and dot and provider and option):
            raise ConfigurationError(
                f"provider_options: expected provider.name=value, got '{text}'"
            )
        by_provider.setdefault(provider.strip(), {})[option.strip()] = value.strip()
    return BackendOptions(
        threads=options.threads,
        provider=tuple(name.strip() for name in options.provider.split(",") if name.strip()),
        provider_options=by_provider,
        strict=options.strict_provider,
        precision=options.precision,
        cache=Path(options.compile_cache).expanduser() if options.compile_cache else None,
    )


def whole_model(bundle: Bundle) -> bytes:
    """Read the model; weights in other files of the bundle are put into it.

    A runtime that is given bytes looks for such files in the folder that the process runs in,
    where nobody signed them: what the graph names is in the manifest, or the model does not load.

    Raises:
        BundleError: a file is not what the manifest says, or not in it.
        ModelError: the graph is none, or names what cannot be put into it.
    """
    manifest = bundle.manifest
    data = bundle.read(manifest.model)
    if not any(mark in data for mark in _NAMES_FILES):
        return data
    from edge_perception.models.graph import with_weights  # needs onnx, which most bundles do not

    return with_weights(manifest.name, data, bundle.read)


@contextmanager
def closed_on_failure(backend: Backend) -> Iterator[None]:
    """Close a session where what is made of it fails: nobody else knows of it."""
    try:
        yield
    except BaseException:
        backend.close()
        raise


def open_bundle(
    bundle: Bundle,
    options: ModelOptions,
    *,
    beside: bool = False,
    profiling: bool = False,
    instead_of: Backend | None = None,
) -> LoadedModel:
    """Create a session of a bundle and compare it with the manifest; nothing runs yet.

    Args:
        bundle: what to load.
        options: how it runs.
        beside: another model serves meanwhile, which must not wait for this one.
        profiling: the session notes the time of every operator, where its runtime can.
        instead_of: a session that hangs: it is not shared.

    Raises:
        ModelError: it does not load here, or its graph is not what the manifest says.
        UnknownNameError: the backend does not exist.
    """
    runtime = backends()[options.backend]
    settings = replace(backend_options(options), profiling=profiling)
    notes = []
    if settings.cache is not None and bundle.sealed:
        settings = replace(settings, cache=None)  # what is compiled holds the weights
        notes.append("compile_cache is not used: the model is sealed, and stays in memory")
    if settings.cache is not None and options.trust_file:
        # It is not signed: what lies there serves in the place of what was verified.
        try:
            settings = replace(settings, cache=private_folder(settings.cache))
        except ConfigurationError as error:
            settings = replace(settings, cache=None)
            notes.append(f"compile_cache is not used: trust_file is set, and {error}")
    if options.batch > 1 and not options.share_session:
        notes.append("batch is not used: it needs share_session")

    # What was hashed is what runs: a file that is replaced in between is never seen. Read even
    # where a session is there already: a bundle that was damaged since does not load.
    data = whole_model(bundle)

    def make() -> Opened:
        def load(graph: bytes) -> Backend:
            def work() -> Backend:
                return load_model_bytes(runtime, graph, bundle.model_path, settings)

            return quietly(work, makes_threads=options.threads > 1) if beside else directly(work)

        chosen = replace(options, batch=1) if profiling else options
        opened = _opened(bundle, data, chosen, load, concurrent=runtime.concurrent)
        with closed_on_failure(opened.backend):
            _check_graph(bundle, opened.backend.describe())
        return opened

    if profiling:  # its times are of this session's own runs
        alone = make()
        return LoadedModel(
            bundle=bundle,
            backend=alone.backend,
            info=alone.backend.describe(),
            notes=(*notes, *alone.notes),
        )
    shares = options.share_session and (runtime.concurrent or options.batch > 1)
    preprocess, why = _preprocess(options, runtime, shares=shares)
    if why:
        notes.append(why)
    way = (options.backend, settings, options.batch, options.batch_wait_ms)
    key = f"{bundle.sha256} {way!r}" if shares else f"own {uuid4()}"
    session = SESSIONS.open(key, make, instead_of=instead_of)
    return LoadedModel(
        bundle=bundle,
        backend=session,
        info=session.describe(),
        notes=(*notes, *session.notes),
        preprocess=preprocess,
    )


def _preprocess(options: ModelOptions, runtime: BackendSpec, *, shares: bool) -> tuple[str, str]:
    """Return where frames become inputs, and why that is not where it was asked for."""
    why = ""
    if not runtime.runs_programs:
        why = f"the runtime {runtime.name} has no kernels for it"
    elif shares:
        why = "sources that share a session would overwrite each other's frames: batch is on"
    if not why or options.preprocess == "cpu":
        return options.preprocess, ""
    return "cpu", f"preprocess gpu is not used: {why}" if options.preprocess == "gpu" else ""


def _opened(
    bundle: Bundle,
    data: bytes,
    options: ModelOptions,
    load: Callable[[bytes], Backend],
    *,
    concurrent: bool,
) -> Opened:
    """Load a graph, with its first dimension freed where frames of several sources may share it.

    A session that is shared for its batches is guarded where the runtime takes one call at a time:
    frames may run one by one all the same, and sources warm it up while others run.
    """
    if options.batch <= 1 or not options.share_session:
        return Opened(backend=load(data))

    def shared(graph: bytes) -> Backend:
        return load(graph) if concurrent else OneAtATime(load(graph))

    backend: Backend | None = None
    try:
        backend = shared(with_free_batch(bundle, data))
        prove_batches(bundle, backend, most=options.batch)
    except (BackendError, ModelError) as error:
        if backend is not None:
            backend.close()
        return Opened(backend=shared(data), notes=(f"batch is not used: {error}",))
    batches = MicroBatches(
        backend,
        model=bundle.manifest.name,
        most=options.batch,
        wait_s=options.batch_wait_ms / 1e3,
        concurrent=concurrent,
    )
    return Opened(backend=backend, batches=batches)


def _check_graph(bundle: Bundle, info: BackendInfo) -> None:
    manifest = bundle.manifest
    for kind, declared, actual in (
        ("input", manifest.inputs, info.inputs),
        ("output", manifest.outputs, info.outputs),
    ):
        shapes = {tensor.name: (tensor.shape, tensor.dtype) for tensor in actual}
        for spec in declared:
            _check_tensor(manifest.name, kind, spec, shapes)


def _check_tensor(model: str, kind: str, spec: TensorSpec, actual: dict) -> None:
    if spec.name not in actual:
        raise ModelError(f"{model}: {kind} '{spec.name}' of the manifest is not in the graph")
    shape, dtype = actual[spec.name]
    fits = len(shape) == len(spec.shape) and all(
        size in (-1, declared) for size, declared in zip(shape, spec.shape, strict=True)
    )  # a free dimension takes what the manifest says
    if not fits or spec.dtype != dtype:
        raise ModelError(
            f"{model}: {kind} '{spec.name}': manifest says {spec.shape} {spec.dtype}, "
            f"graph has {shape} {dtype}"
        )
