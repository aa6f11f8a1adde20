"""Names of the 80 COCO classes in the order of detectors, and those a vehicle publishes."""

COCO_LABELS = tuple(
    """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
    fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant,
    bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard,
    sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle,
    wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
    hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock,
    vase, scissors, teddy bear, hair drier, toothbrush
    """.replace("\n", " ")
    .strip()
    .split(", ")
)
COCO_LABELS = tuple(label.strip() for label in COCO_LABELS)

# COCO label -> class of this package; the others are not published.
ROAD_USERS = {
    "person": "pedestrian",
    "bicycle": "cyclist",
    "motorcycle": "cyclist",
    "car": "car",
    "bus": "bus",
    "truck": "truck",
}

# Spellings of darknet and of Pascal VOC, whose names it took; without blanks.
_DARKNET = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
    "television": "tv",
    "cellphone": "cell phone",
    "mobilephone": "cell phone",
    "hairdryer": "hair drier",
    "doughnut": "donut",
}
_BY_LETTERS = {label.replace(" ", ""): label for label in COCO_LABELS} | _DARKNET


def coco_spelling(label: str) -> str:
    """Return COCO's spelling of a label (motorbike, Traffic_Light); others as they are."""
    letters = "".join(c for c in label.lower() if c not in " _-")
    return _BY_LETTERS.get(letters, label)


# Numbers of the 91 categories of COCO's paper, of which 80 have annotations; 0 is no category.
_NOT_ANNOTATED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_NAMES = iter(COCO_LABELS)
COCO_PAPER_LABELS = tuple(
    f"unused_{number}" if number in _NOT_ANNOTATED else next(_NAMES) for number in range(91)
)
