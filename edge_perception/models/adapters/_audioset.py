"""Sounds that a vehicle should hear, by the labels of AudioSet."""

from __future__ import annotations

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
