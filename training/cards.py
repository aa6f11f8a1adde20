"""Model cards, written from what was measured."""

from __future__ import annotations

from typing import Any

_WHAT = {
    "lidar": "LiDAR sweep, as a bird's-eye raster, to a BEV feature map and 3-D boxes.",
    "camera": "Image and calibration, as a sampling grid, to a BEV feature map and 3-D boxes.",
    "audio": "Log-mel patch of 0.985 s to scores of sounds and an embedding.",
    "fusion": "BEV features of camera and LiDAR, audio embedding and a presence mask to 3-D boxes "
    "and sound scores, for any subset of the modalities.",
}
_DATA = {
    "lidar": "Random simulated scenes of this package's simulator (clear, rain and fog; LiDARs of "
    "16 to 128 beams all around or with a view of 60 to 120 degrees, 0.5 to 3 m above the road; "
    "posts, bushes, cabinets, barriers and house fronts with rooms behind their windows) and the "
    "four labelled frames of PandaSet sequence 001 (© Hesai and Scale AI, CC BY 4.0), mirrored, "
    "turned, tilted by up to 3 degrees, shifted, thinned, with objects pasted, sectors mixed, "
    "ghosts, dust, wet roads, returns below the road and the brightness of other receivers. "
    "PandaSet sequence 002 was used for nothing but the figures below. Detection thresholds were "
    "chosen on the held-out sweeps of the simulator and sequence 001.",
    "camera": "Random simulated scenes with random lenses and mountings (day, dusk, night, rain, "
    "fog) and the four images of PandaSet sequence 001 (© Hesai and Scale AI, CC BY 4.0), "
    "cropped, mirrored, recoloured. Sequence 002 was used for nothing but the figures below. "
    "Detection thresholds were chosen on the simulated held-out pictures.",
    "audio": "Synthetic sounds only: sirens, horns, engines, voices, rain, street noise, and 50 "
    "kinds of sounds that are like sirens and are none (animals, bells, telephones, music, "
    "machines, alarms, whistles, any spectrum with any line of the pitch) at random levels, with "
    "reverberation, random microphone responses and the mean of several microphones; 29,000 "
    "windows, varied at every use. The weights began as those of 0.7.0. No recorded clip "
    "was trained on; the threshold of car_horn (0.75) was chosen with siren_horn_voice in view. "
    "Labels `vehicle` and `rain` are scores only; events are made of `siren`, `car_horn` and "
    "`speech`.",
    "fusion": "Features of the frozen encoders of the same version on simulated scenes (two of "
    "five with a LiDAR of any make, others with a LiDAR alone among obstacles) and on "
    "variants of PandaSet sequence 001, with modality dropout over all seven subsets and camera "
    "calibration errors of 0.4 degrees (standard deviation). The audio embedding belongs to the "
    "scene at random: it carries sounds, not places. Thresholds, temperature and bias of each "
    "subset of modalities were chosen on the simulated held-out scenes.",
}
_LIMITS = {
    "lidar": "Trained for sensors 0.5 to 3 m above the road; the base frame's z = 0 is the road "
    "below the vehicle. Which end of a vehicle is its front may be told wrongly; people have none. "
    "The length of (sine, cosine) in `boxes` says how sure it is. No velocities. Other classes "
    "than cars are known from simulation and very few real objects.",
    "camera": "Learnt mostly from rendered images: on real ones expect far less than the simulated "
    "figures. Objects beyond 40 m were not asked for. Assumes that the road near the vehicle is "
    "level. No velocities.",
    "audio": "One microphone, no bearing. Train horns, shouts and other tonal sounds can be taken "
    "for car horns; real voices score low as speech.",
    "fusion": "Works with the encoders of the same version only (`feature_space`). The sound "
    "scores are an output of the graph; the runtime reports the audio encoder's events. "
    "Scores are calibrated for each subset on simulated scenes, not on real ones. Sensors "
    "were simulated without offsets in time.",
}


def card(
    role: str, *, version: str, report: dict, part_inputs: list[dict], outputs: list[dict],
    cost_ms: float, size: int, memory: int, origin: str = "",
) -> str:  # fmt: skip
    """Return the text of a model card; `origin`: of weights that others have made."""
    tables = {"audio": _audio_table, "fusion": _fusion_table}.get(role, _detector_table)
    return "\n".join(
        [
            f"# bev_lite {role} {version}",
            "",
            _WHAT[role],
            "",
            "## Intended use",
            "",
            "Reference model of edge_perception: it makes the package run, be tested and be "
            "understood where no other model is at hand. Not for the control of a vehicle.",
            "",
            "## Interface",
            "",
            *_interface("input", part_inputs),
            *_interface("output", outputs),
            "",
            f"ONNX opset 17, float32, static shapes, {size / 1e6:.2f} MB. {cost_ms:.1f} ms a run "
            f"on one thread of the machine that trained it, {memory / 1e6:.0f} MB of memory.",
            "",
            "## Data",
            "",
            f"{_DATA[role]} {origin}".strip(),
            "",
            "## Metrics",
            "",
            *tables(report),
            "",
            "## Limits",
            "",
            _LIMITS[role],
            "",
            "Made by `python -m training." + role + "`, Apache-2.0.",
            "",
        ]
    )


def _interface(kind: str, specs: list[dict]) -> list[str]:
    return [f"- {kind} `{spec['name']}` {tuple(spec['shape'])} {spec['dtype']}" for spec in specs]


def _rows(classes: dict[str, Any], name: str) -> list[str]:
    return [
        f"| {name} | {label} | {m['wanted']} | {m['ap']:.2f} | {m['recall']:.2f} | "
        f"{m['precision']:.2f} | {m['front']:.2f} |"
        for label, m in classes.items()
        if label != "map" and m["wanted"]
    ]


_HEADER = [
    "| set | class | objects | AP | recall | precision | front right |",
    "|---|---|---|---|---|---|---|",
]


def _detector_table(report: dict) -> list[str]:
    lines = ["Centre within 2 m; recall and precision at the shipped thresholds.", "", *_HEADER]
    for name, areas in report.items():
        if name in ("thresholds", "calibration"):
            continue
        for area, classes in areas.items():
            lines += _rows(classes, f"{name}, {area}")
    return lines


def _fusion_table(report: dict) -> list[str]:
    lines = [
        "Centre within 2 m, every object that camera or LiDAR sees; PandaSet: within 40 m ahead. "
        "Recall and precision at the shipped thresholds.",
        "",
        *_HEADER,
    ]
    for name, subsets in report.items():
        for subset, classes in subsets.items():
            if subset not in ("thresholds", "subsets", "audio"):
                lines += _rows(classes, f"{name}, {subset}")
    return lines


def _audio_table(report: dict) -> list[str]:
    if "head" in report:
        return _head_table(report) + _hearing_table(report["hearing"])
    count = report.get("windows", 2000)
    lines = [
        f"F1 on {count} held-out synthetic windows, most of them with sounds that are like sirens, "
        "at 0.5; sound louder than -3 dB of the noise:",
        "",
    ]
    lines += [f"- {name}: {value:.2f}" for name, value in report["synthetic_held_out_f1"].items()]
    lines += ["", "Highest score in recorded clips:", "", "| clip | siren | car_horn | speech |"]
    lines.append("|---|---|---|---|")
    for clip, scores in report["clips"].items():
        cells = " | ".join(f"{scores[n][2]:.2f}" for n in ("siren", "car_horn", "speech"))
        lines.append(f"| {clip} | {cells} |")
    return lines + (_hearing_table(report["hearing"]) if "hearing" in report else [])


def _head_table(report: dict) -> list[str]:
    """Return what is known of the head over time, and of the network for single windows."""
    unknown = report["unknown_kinds"]
    names = ("false", "f1", "streets", "told_after_s")
    lines = [
        f"Sirens, told by the head over time at {report['threshold']}. Heads that were trained "
        f"without a part of the kinds of other sounds, on the {unknown['head']['of']} clips of 7 s "
        "of that part; F1 on 300 simulated frames at 0 dB; 45 simulated streets without a siren; "
        "when a siren that begins in a running stream is told, median and nine of ten:",
        "",
        "| a siren is | false clips | F1 | false streets | told after, s |",
        "|---|---|---|---|---|",
    ]
    for rule, found in unknown.items():
        cells = [str(found[n]) for n in names[:3]]
        late = " and ".join(f"{value:.1f}" for value in found[names[3]])
        lines.append(f"| {rule} | {' | '.join(cells)} | {late} |")
    frozen = report["frozen"]
    lines += [
        "",
        "The other scores are those of the network for single windows (0.6.0), which is as it was. "
        f"F1 on {frozen['windows']} held-out synthetic windows at 0.5, most of them with sounds "
        "that are like sirens; sound louder than -3 dB of the noise:",
        "",
    ]
    scores = {n: f1 for n, f1 in frozen["synthetic_held_out_f1"].items() if n != "siren"}
    lines += [f"- {name}: {value:.2f}" for name, value in scores.items()]
    lines += ["", "Its highest score in recorded clips:", "", "| clip | car_horn | speech |"]
    lines.append("|---|---|---|")
    for name, clip in frozen["clips"].items():
        lines.append(f"| {name} | {clip['car_horn'][2]:.2f} | {clip['speech'][2]:.2f} |")
    return lines


def _hearing_table(tables: dict) -> list[str]:
    """Return what is taken for a siren; the first model is the one of the card."""
    lines = [
        "",
        "Sirens at 0 dB in simulated streets, and clips of other sounds that training has not "
        "seen, made in another way (`training/held_out_sounds.py`); a siren is what the mean over "
        "windows says, and with models that do not ask for a mean three windows in a row:",
        "",
        "| model | threshold | sirens heard | F1 against streets | false sirens | in recordings |",
        "|---|---|---|---|---|---|",
    ]
    for how in ("own_threshold", "same_recall"):
        for name, entry in tables[how].items():
            lines.append(
                f"| {name}, {how.replace('_', ' ')} | {entry['threshold']:.2f} | "
                f"{entry['recall']:.2f} | {entry['f1_against_streets']:.2f} | "
                f"{entry['false_sirens']} of {entry['of_hard_negatives']} | "
                f"{entry['false_in_recordings']} of {entry['of_recordings']} |"
            )
    per_hour = tables["false_sirens_per_hour"]
    names = list(per_hour)
    lines += ["", "False sirens per hour of nothing but that sound:", ""]
    lines += [f"| kind | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for kind in per_hour[names[0]]:
        lines.append(f"| {kind} | {' | '.join(f'{per_hour[n][kind]:.0f}' for n in names)} |")
    return lines
