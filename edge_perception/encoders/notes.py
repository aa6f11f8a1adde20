"""What is said once of an input that is read otherwise than its metadata say."""

from __future__ import annotations

_MOST = 64  # texts; whoever makes more of them makes them of numbers


class InputNotes:
    """The notes of one source. One thread sees, any thread may read."""

    def __init__(self) -> None:
        self._said: dict[str, None] = {}
        self._now: tuple[str, ...] = ()

    @property
    def now(self) -> tuple[str, ...]:
        """Notes of the newest frame."""
        return self._now

    @property
    def all(self) -> tuple[str, ...]:
        """Every note so far, in the order they came."""
        return tuple(self._said)

    def see(self, notes: tuple[str, ...]) -> tuple[str, ...]:
        """Take the notes of a frame; return those that were not said before."""
        if notes == self._now:
            return ()
        self._now = notes
        new = tuple(text for text in notes if text not in self._said)[: _MOST - len(self._said)]
        self._said.update(dict.fromkeys(new))
        return new
