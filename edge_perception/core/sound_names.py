"""What sounds are by their names: those of the bundled model, and those of AudioSet."""

from __future__ import annotations

_VOICES = ("speech", "speaking", "conversation", "voice")
_HELD = ("horn", "honk", "toot", "beep", "buzzer")


def is_voice(class_name: str) -> bool:
    """Whether a sound is somebody who speaks, also as AudioSet names it: no siren is as quiet."""
    name = class_name.strip().lower()
    return any(word in name for word in _VOICES)


def is_siren(class_name: str) -> bool:
    """Whether a sound is the siren of a vehicle, also as AudioSet names them."""
    name = class_name.strip().lower()
    return ("siren" in name and "civil" not in name) or name == "emergency vehicle"


def is_held_tone(class_name: str) -> bool:
    """Whether a sound holds its pitch for as long as it lasts, as horns do and sirens do not."""
    name = class_name.strip().lower()
    return any(word in name for word in _HELD) and not is_siren(class_name)
