"""Sounds that are not sirens and sound like them: `HARD` by kind, made of nothing but numbers.

Every maker takes a generator and a number of samples at 16 kHz. Pitches, lengths, pauses and
timbres are drawn widely, so that no single recording is needed to know the kind.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training import hard_any, hard_calls, hard_machines, hard_music, hard_tones
from training.sounds import Wave

Maker = Callable[[np.random.Generator, int], Wave]

HARD: dict[str, Maker] = {
    "dog": hard_calls.bark,
    "howl": hard_calls.howl,
    "cat": hard_calls.meow,
    "bird song": hard_calls.bird_song,
    "crow": hard_calls.crow,
    "rooster": hard_calls.rooster,
    "dove or owl": hard_calls.hoot,
    "cattle": hard_calls.cattle,
    "insects": hard_calls.insects,
    "baby": hard_calls.baby,
    "laughter": hard_calls.laughter,
    "singing": hard_calls.singing,
    "human whistle": hard_tones.human_whistle,
    "referee whistle": hard_tones.pea_whistle,
    "steam": hard_tones.steam,
    "church bell": hard_tones.church_bell,
    "small bell": hard_tones.small_bell,
    "crossing bell": hard_tones.crossing_bell,
    "bell telephone": hard_tones.bell_telephone,
    "tone telephone": hard_tones.tone_telephone,
    "ring tone": hard_tones.ring_tone,
    "beeper": hard_tones.beeper,
    "reversing beeper": hard_tones.reversing_beeper,
    "chime": hard_tones.chime,
    "violin": hard_tones.bowed,
    "flute": hard_tones.flute,
    "brass": hard_tones.brass,
    "organ": hard_tones.organ,
    "plucked": hard_tones.plucked,
    "drill or saw": hard_machines.saw,
    "vacuum": hard_machines.vacuum,
    "traction motor": hard_machines.traction_motor,
    "chainsaw": hard_machines.chainsaw,
    "aircraft": hard_machines.aircraft,
    "squeak": hard_machines.squeak,
    "wind": hard_machines.wind,
    "water": hard_machines.water,
    "breaking": hard_machines.breaking,
    "yowl": hard_calls.yowl,
    "beast": hard_calls.beast,
    "rail": hard_machines.rail,
    "whine": hard_machines.whine,
    "strings": hard_music.strings,
    "game tune": hard_music.game_tune,
    "arpeggio": hard_music.arpeggio,
    "solo": hard_music.solo,
    "band": hard_music.band,
    "cry": hard_any.cry,
    "notes": hard_any.notes,
    "slide": hard_any.slide,
}
# What was taken for a siren most often, and the widest kinds, are heard more often than others.
_OFTEN = {"cry": 8.0, "notes": 7.0, "strings": 4.0, "game tune": 3.0, "solo": 3.0, "yowl": 3.0,
          "rail": 2.0, "slide": 2.0, "arpeggio": 1.5, "band": 1.5, "whine": 1.5, "rooster": 1.5,
          "baby": 1.5, "cat": 1.5}  # fmt: skip
SHARES = np.array([_OFTEN.get(name, 1.0) for name in HARD])
SHARES = SHARES / SHARES.sum()
# Long steady chords are what a horn is: of these nobody says whether one is in them.
LIKE_HORNS = ("brass", "organ", "cattle", "solo", "band", "notes", "cry")
VOICES = ("baby", "laughter", "singing", "cry")
