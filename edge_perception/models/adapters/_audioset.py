"""Sounds that a vehicle should hear, by the labels of AudioSet."""

from __future__ import annotations

import csv
from pathlib import Path

from edge_perception.core.errors import ModelError

# What a vehicle should hear: AudioSet labels, score to start, score to end. A horn heard over a
# siren scores as "Car alarm", which in AudioSet is a horn sounding again and again.
EVENTS: dict[str, tuple[tuple[str, ...], float, float]] = {
    "siren": (
        (
            "Emergency vehicle",
            "Police car (siren)",
            "Ambulance (siren)",
            "Fire engine, fire truck (siren)",
            "Siren",
        ),
        0.5,
        0.35,
    ),
    "car_horn": (
        ("Vehicle horn, car horn, honking", "Air horn, truck horn", "Car alarm"),
        0.5,
        0.4,
    ),
    "train": (("Train", "Train whistle", "Train horn", "Railroad car, train wagon"), 0.8, 0.6),
    "vehicle": (
        ("Vehicle", "Motor vehicle (road)", "Car", "Car passing by", "Truck", "Bus", "Engine"),
        0.6,
        0.4,
    ),
    "motorcycle": (("Motorcycle",), 0.5, 0.35),
    "bicycle_bell": (("Bicycle bell",), 0.5, 0.35),
    "reversing": (("Reversing beeps",), 0.5, 0.35),
    "skidding": (("Skidding", "Tire squeal"), 0.5, 0.35),
    "crash": (("Smash, crash", "Glass"), 0.5, 0.35),
    "speech": (("Speech", "Conversation"), 0.5, 0.35),
    "children": (
        ("Child speech, kid speaking", "Children shouting", "Children playing", "Child singing"),
        0.5,
        0.35,
    ),
    "shout": (("Shout", "Yell", "Screaming"), 0.5, 0.35),
    "dog": (("Dog", "Bark"), 0.5, 0.35),
    "rain": (("Rain", "Rain on surface"), 0.6, 0.4),
}
# What UrbanSound8K, ESC-50 and FSD50K call them, where it is not AudioSet's name.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "car_horn": ("Car horn",),
    "vehicle": ("Engine idling",),
    "dog": ("Dog bark",),
    "crash": ("Glass breaking",),
}


def class_names(path: Path) -> list[str]:
    """Return the display names of a class map of AudioSet, in the order of the scores.

    That is the order of its column `index`, where it counts from 0, else that of its rows.

    Raises:
        ModelError: the file cannot be read or has no such column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(row["display_name"], row.get("index")) for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path.name}: expected a column display_name: {error!r}") from error
    if any(not name for name, _ in rows):
        raise ModelError(f"{path.name}: expected a display_name in each row")
    numbered = {int(index): name for name, index in rows if index and index.strip().isdecimal()}
    if sorted(numbered) == list(range(len(rows))):
        return [numbered[number] for number in range(len(rows))]
    return [name for name, _ in rows]
