"""The camera encoder: image to feature tensors, 2-D boxes and, from lifting models, 3-D boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.backends.device_program import DeviceProgram
from edge_perception.core.types import Geometry, ImageFrame, ImageObject
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.camera.calibration import geometry_of_image, undistort_boxes
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.camera.image_program import PIXELS, image_program
from edge_perception.encoders.camera.letterbox import Letterbox
from edge_perception.encoders.camera.lift import SEEN, LiftConfig, lift_grid, seen_cells, shown
from edge_perception.encoders.camera.preprocess import ImagePreprocessor, camera_preprocessing
from edge_perception.encoders.camera.sixteen_bits import SixteenBits
from edge_perception.encoders.checked_model import CheckedModel
from edge_perception.encoders.device_input import DeviceInput
from edge_perception.models.manifest import Manifest


class CameraIntake:
    """Latest image only: the callback keeps the message, the worker decodes it."""

    def __init__(self) -> None:
        self._bits = SixteenBits()

    def learn_from(self, before: CameraIntake) -> None:
        """Go on with the bits that the source's images used before."""
        self._bits = before._bits

    def accept(self, message: Any) -> Any:
        """Return the message as it is."""
        return message

    def frame(self, item: Any) -> ImageFrame:
        """Decode a sensor_msgs/Image or CompressedImage.

        Raises:
            InvalidFrameError: the message cannot be used.
        """
        return image_from_msg(item, bits=self._bits)


class CameraEncoder(CheckedModel):
    """One camera model. Not thread-safe.

    `image_objects` are in pixels of `geometry.image_size` (of the image itself where that is not
    known), in the pinhole image of the intrinsics: of a lens with distortion the box corners are
    undistorted, and a box that lies wholly beyond 80 degrees off the axis is left out.

    Beside the features of the manifest a lifting model gives `seen`, uint8 (1, 1, H, W): the cells
    of the bird's-eye grid that the image shows. What several cameras see is merged by it.
    """

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        super().__init__(manifest, backend)
        self._config = camera_preprocessing(manifest)
        self._preprocessor = ImagePreprocessor(self._config)
        self._device: DeviceInput | None = None
        self._lift_key: tuple = ()
        self._lift = np.empty(0, np.float32)
        self._seen: dict[str, NDArray] = {}

    def use_device(self, device: DeviceInput) -> None:
        """Make the image input by a kernel, which is compiled now and fitted to each size."""
        self._device = device
        self._on_device(self._config.size)

    def _on_device(self, size: tuple[int, int]) -> bool:
        def make() -> DeviceProgram:
            return image_program(self._config, self._preprocessor.letterbox(size))

        return self._device is not None and self._device.ready(size, make)

    def preprocess(self, frame: ImageFrame, geometry: Geometry) -> dict[str, NDArray]:
        """Return the graph inputs; the next call overwrites them.

        On a device the pixels are in the place of the image input.

        Raises:
            InvalidFrameError: the model lifts to the bird's-eye grid and the calibration is not
                known.
        """
        inputs: dict[str, NDArray]
        if self._on_device(image_size(frame)):
            inputs = {PIXELS: frame.bgr}
        else:
            inputs = {self._config.image_input: self._preprocessor(frame.bgr)}
        if self._config.lift is not None:
            size = image_size(frame)
            known = _geometry(frame, geometry)
            inputs[self._config.lift_input] = self._grid(
                self._config.lift, geometry_of_image(known, size), size
            )
        return inputs

    def postprocess(
        self, outputs: Mapping[str, NDArray], frame: ImageFrame, geometry: Geometry
    ) -> EncoderOutput:
        """Return feature tensors, boxes in the image and objects in the base frame."""
        size = image_size(frame)
        letterbox: Letterbox = self._preprocessor.letterbox(size)
        decisions = self.decide(outputs, letterbox)
        known = _geometry(frame, geometry)
        fitted = geometry_of_image(known, size)
        seen, objects = self._seen_of(known, size), decisions.objects
        if self._config.lift is not None:
            objects = shown(objects, seen[SEEN], self._config.lift)
        return EncoderOutput(
            tensors={**self.features(outputs), **seen},
            objects=objects,
            image_objects=pinhole_objects(decisions.image_objects, size, known),
            notes=() if fitted is known else fitted.notes,
        )

    def _seen_of(self, geometry: Geometry, size: tuple[int, int]) -> dict[str, NDArray]:
        """Return the cells that an image of this geometry shows, by the name of the tensor."""
        if self._config.lift is not None:
            self._grid(self._config.lift, geometry_of_image(geometry, size), size)
        return self._seen

    def _grid(
        self, config: LiftConfig, geometry: Geometry, size: tuple[int, int]
    ) -> NDArray[np.float32]:
        key = (
            size,
            geometry.image_size,
            geometry.T_base_sensor.tobytes(),
            None if geometry.intrinsics is None else geometry.intrinsics.tobytes(),
            None if geometry.distortion is None else geometry.distortion.tobytes(),
        )
        if key != self._lift_key:
            self._lift = lift_grid(geometry, config, self._preprocessor.letterbox(size))
            self._seen = {SEEN: seen_cells(self._lift, config)}
            self._lift_key = key
        return self._lift


def image_size(frame: ImageFrame) -> tuple[int, int]:
    """Return width and height of a frame, px."""
    return frame.bgr.shape[1], frame.bgr.shape[0]


def pinhole_objects(
    objects: tuple[ImageObject, ...], size: tuple[int, int], geometry: Geometry
) -> tuple[ImageObject, ...]:
    """Move boxes from an image of `size` to the pinhole image of `geometry`."""
    target = geometry.image_size or size
    if not objects or (geometry.distortion is None and target == size):
        return objects
    boxes = np.array([(o.x_min, o.y_min, o.x_max, o.y_max) for o in objects])
    fitted = geometry_of_image(geometry, size)
    boxes = undistort_boxes(boxes, fitted)
    if size in geometry.other_sizes:  # cropped or not, so no resizing
        boxes = _between(boxes, fitted, geometry)
    else:
        boxes = (boxes + 0.5) * np.tile(np.divide(target, size), 2) - 0.5
    return tuple(
        replace(item, x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3])
        for item, box in zip(objects, boxes.tolist(), strict=True)
        if np.isfinite(box).all()
    )


def _between(boxes: NDArray[np.float64], of: Geometry, to: Geometry) -> NDArray[np.float64]:
    """Move boxes, (N, 4), px, from the pinhole image of one calibration to that of another."""
    assert of.intrinsics is not None
    assert to.intrinsics is not None
    centre, focal = of.intrinsics[:2, 2], of.intrinsics[[0, 1], [0, 1]]
    other, other_focal = to.intrinsics[:2, 2], to.intrinsics[[0, 1], [0, 1]]
    corners = (boxes.reshape(-1, 2, 2) - centre) / focal * other_focal + other
    return np.asarray(corners.reshape(-1, 4))


def _geometry(frame: ImageFrame, geometry: Geometry) -> Geometry:
    """The calibration given, or the one that came with the frame."""
    if geometry.intrinsics is not None or frame.intrinsics is None:
        return geometry
    return replace(geometry, intrinsics=frame.intrinsics, image_size=image_size(frame))


def make_intake(manifest: Manifest) -> CameraIntake:  # noqa: ARG001
    """Return the intake; images need nothing of the manifest."""
    return CameraIntake()


def make_encoder(manifest: Manifest, backend: Backend) -> CameraEncoder:
    """Return the encoder of a manifest.

    Raises:
        ManifestError: preprocessing or postprocessing do not fit the model.
    """
    return CameraEncoder(manifest, backend)
