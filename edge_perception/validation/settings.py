"""Everything that decides the result of a replay, as plain data that travels to a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.replay.changes import Changes, parse_changes
from edge_perception.replay.virtual import parse_seconds
from edge_perception.running.parameter_yaml import ParameterFiles
from edge_perception.running.plugin_parameters import use_plugin_folders


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """One recording and how it is replayed. Paths and numbers only."""

    bag: str
    params_files: tuple[str, ...] = ()
    ground_truth: str = ""  # file of labels; empty: beside the recording, or inside it
    namespace: str | None = None  # of the nodes; None: the one that the parameter files speak of
    overrides: Mapping[str, object] = field(default_factory=dict)  # node.parameter
    remaps: tuple[str, ...] = ()
    subset: tuple[str, ...] = ()
    latency: str = "zero"
    drop: tuple[str, ...] = ()
    delay: tuple[str, ...] = ()
    shift: tuple[str, ...] = ()
    lose: tuple[str, ...] = ()
    fog: float = 0.0
    noise: tuple[str, ...] = ()
    swap: tuple[str, ...] = ()  # release@12s or role=bundle@12s
    seed: int = 0
    segment_s: float | None = None  # None: by the length of the recording; 0: not cut
    warm_up_s: float = parameter(5.0, unit="s", low=0.0, high=600.0)

    def changes(self) -> Changes:
        """Return the what-if changes.

        Raises:
            ConfigurationError: one of them has the wrong form, or a parameter file has.
        """
        files = ParameterFiles(self.all_params_files(), namespace=self.namespace or "")
        use_plugin_folders(files)  # with modalities that noise can be asked for
        return parse_changes(
            drop=self.drop,
            delay=self.delay,
            shift=self.shift,
            lose=self.lose,
            fog=self.fog,
            noise=self.noise,
            seed=self.seed,
        )

    def all_params_files(self) -> tuple[Path, ...]:
        """Return the parameter files; that of the recording, where there is one, comes first."""
        return with_own_parameters(Path(self.bag), self.params_files)

    def what_if(self) -> dict[str, object]:
        """Return what differs from a plain replay, for reports."""
        plain = ReplaySettings(bag=self.bag)
        names = ("subset", "latency", "drop", "delay", "shift", "lose", "fog", "noise", "swap")
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name in names
            if (value := getattr(self, name)) != getattr(plain, name)
        }


def parse_swap(text: str) -> tuple[str, float]:
    """Read `release@12s`.

    Raises:
        ConfigurationError: another form.
    """
    release, at, time = text.rpartition("@")
    if not at or not release:
        raise ConfigurationError(f"swap: expected release@12s or camera=bundle@12s, got '{text}'")
    return release, parse_seconds(time, "swap")
