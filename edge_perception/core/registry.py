"""Discovery of dropped-in folders: a folder exports SPEC, and nobody lists it centrally."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from types import ModuleType
from typing import Generic, TypeVar

from edge_perception.core.errors import EdgePerceptionError, UnknownNameError

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Registry(Generic[S]):
    """The SPECs found below one package, and why the others could not be imported."""

    kind: str
    specs: dict[str, S]
    failures: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> S:
        """Return the SPEC called `name`; raises with the known names or the import failure."""
        if name in self.specs:
            return self.specs[name]
        if name in self.failures:
            raise EdgePerceptionError(f"{self.kind} '{name}' cannot be used: {self.failures[name]}")
        raise UnknownNameError(kind=self.kind, name=name, known=list(self.specs))


def discover(package: ModuleType, *, kind: str, spec_type: type[S]) -> Registry[S]:
    """Import every public module or folder below `package` that exports SPEC.

    A module that fails to import keeps its reason instead of failing the others.
    """
    specs: dict[str, S] = {}
    failures: dict[str, str] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        try:
            module = importlib.import_module(f"{package.__name__}.{info.name}")
        except ImportError as error:
            failures[info.name] = str(error)
            continue
        spec = getattr(module, "SPEC", None)
        if isinstance(spec, spec_type):
            specs[info.name] = spec
    return Registry(kind=kind, specs=specs, failures=failures)
