"""Discovery of extensions: whatever exports SPEC is found, and nobody lists it centrally."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError, UnknownNameError
from edge_perception.core.plugins import import_plugin, plugin_folders

S = TypeVar("S")
_GROUP = "edge_perception."


@dataclass(frozen=True, kw_only=True)
class Registry(Generic[S]):
    """The SPECs that were found, where, and why the others could not be imported."""

    kind: str
    specs: dict[str, S]
    failures: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)  # of specs that are not the package's

    def __getitem__(self, name: str) -> S:
        """Return the SPEC called `name`; raises with the known names or the import failure."""
        if name in self.specs:
            return self.specs[name]
        if name in self.failures:
            raise ConfigurationError(f"{self.kind} '{name}' cannot be used: {self.failures[name]}")
        raise UnknownNameError(kind=self.kind, name=name, known=list(self.specs))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """One place that may export a SPEC."""

    name: str
    origin: str  # for people; empty: the package
    load: Callable[[], Any]  # the SPEC, None: there is none


class Discovery(Generic[S]):
    """Extensions of one kind: of the package, of installed distributions, of plug-in folders.

    A module that fails to import keeps its reason instead of failing the others.
    """

    def __init__(
        self,
        package: str,
        *,
        kind: str,
        group: str,
        spec_type: type[S],
        name_of: Callable[[S], str],
    ) -> None:
        """Look for nothing yet.

        Args:
            package: name of the package whose modules are looked at.
            kind: for people, as in "unknown kind 'name'".
            group: folder in plug-in folders, and last word of the entry point group.
            spec_type: what they export.
            name_of: name that a SPEC says of itself; it must be that of its module.
        """
        self._package, self._kind, self._group = package, kind, group
        self._spec_type, self._name_of = spec_type, name_of
        self._known: tuple[tuple[Path, ...], Registry[S]] | None = None

    def registry(self) -> Registry[S]:
        """Return what there is; looked for once for the present plug-in folders.

        Raises:
            ConfigurationError: two extensions have one name.
        """
        folders = plugin_folders()
        if self._known is None or self._known[0] != folders:
            self._known = (folders, self._look(folders))
        return self._known[1]

    def _look(self, folders: Iterable[Path]) -> Registry[S]:
        registry: Registry[S] = Registry(kind=self._kind, specs={})
        for found in (*self._own(), *self._installed(), *self._in(folders)):
            self._add(registry, found)
        return registry

    def _add(self, registry: Registry[S], found: _Found) -> None:
        if found.name in registry.specs:
            first = registry.origins.get(found.name, "the package")
            raise ConfigurationError(
                f"{self._kind} '{found.name}' is in {first} and in {found.origin}: expected one"
            )
        try:
            spec = found.load()
        except Exception as error:  # foreign code raises what it likes
            known = isinstance(error, (ImportError, EdgePerceptionError))
            self._fail(registry, found, str(error) if known else repr(error))
            return
        if spec is None and not found.origin:
            return  # the package has helper modules beside
        if not isinstance(spec, self._spec_type):
            got = "none" if spec is None else f"one of type {type(spec).__name__}"
            self._fail(registry, found, f"expected a SPEC of {self._spec_type.__name__}, got {got}")
        elif (says := self._name_of(spec)) != found.name:
            self._fail(registry, found, f"expected a SPEC named as its module, got '{says}'")
        else:
            registry.specs[found.name] = spec
            registry.failures.pop(found.name, None)  # of another place
            if found.origin:
                registry.origins[found.name] = found.origin

    def _fail(self, registry: Registry[S], found: _Found, reason: str) -> None:
        where = f"{found.origin}: " if found.origin else ""
        registry.failures.setdefault(found.name, f"{where}{reason}")

    def _own(self) -> Iterator[_Found]:
        package = sys.modules[self._package]
        for info in pkgutil.iter_modules(package.__path__):
            if not info.name.startswith("_"):
                yield _Found(name=info.name, origin="", load=self._loader(info.name))

    def _loader(self, name: str) -> Callable[[], Any]:
        return lambda: _spec_of(importlib.import_module(f"{self._package}.{name}"))

    def _installed(self) -> Iterator[_Found]:
        for point in sorted(entry_points(group=_GROUP + self._group), key=lambda p: p.name):
            name = point.dist.name if point.dist is not None else point.value
            yield _Found(
                name=point.name, origin=f"entry point of {name}", load=_point_loader(point)
            )

    def _in(self, folders: Iterable[Path]) -> Iterator[_Found]:
        for folder in folders:
            place = folder / self._group
            for name in _names(place):
                yield _Found(
                    name=name, origin=str(place), load=_folder_loader(folder, self._group, name)
                )


def _spec_of(module: ModuleType) -> Any:
    return getattr(module, "SPEC", None)


def _point_loader(point: EntryPoint) -> Callable[[], Any]:
    def load() -> Any:
        exported = point.load()
        return _spec_of(exported) if isinstance(exported, ModuleType) else exported

    return load


def _folder_loader(folder: Path, group: str, name: str) -> Callable[[], Any]:
    return lambda: _spec_of(import_plugin(folder, group, name))


def _names(place: Path) -> list[str]:
    """Return the modules of a folder, and folders with Python in them that lack __init__.py."""
    if not place.is_dir():
        return []
    names = {path.stem for path in place.glob("*.py")}
    names |= {path.name for path in place.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    return sorted(name for name in names if not name.startswith("_"))
