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
