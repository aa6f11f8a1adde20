"""The parameter `plugin_folders`, for whoever must know extensions before a node reads it."""

from __future__ import annotations

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.plugins import add_plugin_folders, plugin_folders
from edge_perception.running.parameter_yaml import ParameterFiles, matches

NAME = "plugin_folders"


def use_plugin_folders(files: ParameterFiles) -> None:
    """Look for extensions where the parameter files tell the nodes of this namespace to.

    Raises:
        ConfigurationError: it is no list of folders, or one of them cannot be used.
    """
    for section in files.written:
        found = section.values.get(NAME) or []
        node = section.pattern.split("/")[-1].replace("*", "any")
        if not matches(section.pattern, f"{files.namespace.rstrip('/')}/{node}"):
            continue
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise ConfigurationError(
                f"{section.origin}: {NAME}: expected a list of folders, got {found}"
            )
        add_plugin_folders(found)


def plugin_parameters() -> dict[str, list[str]]:
    """Return the parameter for nodes that are to know what this process knows; nothing for none."""
    known = [str(folder) for folder in plugin_folders()]
    return {NAME: known} if known else {}
