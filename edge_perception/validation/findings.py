"""A finding: one kind of difference or doubt, named, with when and how often."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of difference, named."""

    # recording, source, model, parameter, messages, states, conditions, frames, timing, objects,
    # events, limit
    kind: str
    text: str
    count: int = 1
    first_s: float | None = None  # since the start of the recording
    last_s: float | None = None
    failed: bool = True

    def line(self) -> str:
        """Say it in one line."""
        where = ""
        if self.first_s is not None and self.last_s is not None:
            where = f" at {self.first_s:.2f} s"
            if self.last_s - self.first_s > 1e-6:
                where = f" from {self.first_s:.2f} to {self.last_s:.2f} s"
        times = f" ({self.count} x)" if self.count > 1 else ""
        return f"{self.kind}: {self.text}{where}{times}"
