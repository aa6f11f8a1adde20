"""Which processes make up the pipeline, from the names of its sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file
from edge_perception.encoders import GENERIC, encoders, modality_of
from edge_perception.running.node_parameters import check_names
from edge_perception.running.parameter_yaml import EVERY_NODE, ParameterFiles
from edge_perception.running.plugin_parameters import use_plugin_folders

DEFAULT_PARAMETERS = "config/perception.yaml"
FUSION = "fusion"


@dataclass(frozen=True, kw_only=True)
class EncoderProcess:
    """One encoder node in a process of its own."""

    executable: str
    arguments: tuple[str, ...]  # before those of ROS
    node_name: str
    source: str


def encoder_processes(sources: Sequence[str]) -> list[EncoderProcess]:
    """Return one encoder for each source; its name begins with its modality.

    Raises:
        ConfigurationError: a source is named twice, or begins with no known modality.
    """
    if len(set(sources)) != len(sources):
        raise ConfigurationError(f"sources: expected each name once, got {', '.join(sources)}")
    return [_encoder_process(source) for source in sources]


def _encoder_process(source: str) -> EncoderProcess:
    spec = encoders()[modality_of(source)]
    return EncoderProcess(
        executable=spec.executable,
        arguments=("--modality", spec.modality) if spec.executable == GENERIC else (),
        node_name=f"{source}_encoder",
        source=source,
    )


def full_namespace(pushed: str, namespace: str) -> str:
    """Return the namespace of nodes that a launch file starts in a group of another one.

    Args:
        pushed: that the groups around it give (`PushRosNamespace`); empty: none does.
        namespace: that it gives its nodes itself; with a slash in front the others do not count.
    """
    if namespace.startswith("/"):
        return namespace
    return "/".join(filter(None, (pushed.rstrip("/"), namespace)))


def choose_sources(text: str, params_files: Sequence[Path], *, namespace: str) -> tuple[str, ...]:
    """Return the sources asked for, else those of the parameter files, else the package's own.

    Args:
        text: names with commas between, or nothing.
        params_files: ROS parameter files, in the order of a command line.
        namespace: namespace of the nodes; a section of another one does not count.

    Raises:
        ConfigurationError: no such file, `sources` in it is not a list of names, or nothing reads
            a name in it: better said here than by every process, again and again.
    """
    named = tuple(name.strip() for name in text.split(",") if name.strip())
    of_files = sources_of_files(params_files, namespace=namespace)  # and its plug-ins
    files = ParameterFiles(params_files, namespace=namespace)
    if named:
        files.override(EVERY_NODE, "sources", list(named), "sources")
    check_names(files)
    return (
        named or of_files or sources_of_files([share_file(DEFAULT_PARAMETERS)], namespace=namespace)
    )


def topic_remaps(text: str, sources: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the remaps of the sources' topics, as (from, to).

    Args:
        text: `source:=topic` with commas between. The topics beside it move with it. A name that
            ends with a slash is the namespace of a driver: `camera_front:=/front/` listens to
            `/front/image_raw`, `/front/image_raw/compressed` and `/front/camera_info`.
        sources: names of the sources.

    Raises:
        ConfigurationError: not of that form, no such source, or a source is named twice.
    """
    remaps: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        source, sign, topic = (each.strip() for each in part.partition(":="))
        if not sign or not topic:
            raise ConfigurationError(f"topics: expected source:=topic, got '{part}'")
        if source not in sources:
            raise ConfigurationError(
                f"topics: expected one of {', '.join(sources)}, got '{source}' in '{part}'"
            )
        modality = modality_of(source)
        base = encoders()[modality].topics[0].topic.replace(modality, source, 1)
        if base in remaps:
            raise ConfigurationError(f"topics: {source} is named twice")
        remaps[base] = topic + base.rpartition("/")[2] if topic.endswith("/") else topic
    return tuple(remaps.items())


def store_parameters(model_store: str, trust_file: str) -> dict[str, str]:
    """Return the parameters of all nodes for a store of releases; an empty path leaves its out.

    Nodes may be started in another folder, so the paths are made absolute.
    """
    paths = {"model_store": model_store, "trust_file": trust_file}
    return {name: str(Path(path).expanduser().absolute()) for name, path in paths.items() if path}


def sources_of_files(params_files: Sequence[Path], *, namespace: str) -> tuple[str, ...]:
    """Return what ROS parameter files set as `sources` of the fusion node, () if nothing.

    What they name as `plugin_folders` is used from then on.

    Raises:
        ConfigurationError: no such file, no parameter file, or `sources` in it is not a list of
            names.
    """
    files = ParameterFiles(params_files, namespace=namespace)
    use_plugin_folders(files)
    found = files.of_node(FUSION).get("sources") or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        listed = ", ".join(map(str, params_files))
        raise ConfigurationError(f"{listed}: sources: expected a list of names, got {found}")
    return tuple(found)
