"""YAML that a person wrote or joined from two files: a key that is there twice is a mistake."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError


class _OnceLoader(yaml.SafeLoader):
    """YAML takes the last of two values without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping.

        Raises:
            ConstructorError: a key of it is given twice.
        """
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    where = key.start_mark
                    raise ConstructorError(None, None, f"'{key.value}' is given twice", where)
                seen.add((key.tag, key.value))
        return dict(super().construct_mapping(node, deep=deep))


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        yaml.YAMLError: it is none, a key is given twice, or it nests too deep.
    """
    try:
        return yaml.load(text, Loader=_OnceLoader)
    except RecursionError as error:
        raise yaml.YAMLError("nests too deep") from error
