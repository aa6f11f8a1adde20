"""Cameras: Image and CompressedImage to features, 2-D boxes and bird's-eye features."""

from edge_perception.encoders import EncoderSpec, TopicSpec
from edge_perception.encoders.camera.alter import in_fog_with_noise
from edge_perception.encoders.camera.camera_info import (
    geometry_from_camera_info,
    geometry_of_rectified,
)
from edge_perception.encoders.camera.content import CONTENT
from edge_perception.encoders.camera.encoder import make_encoder, make_intake
from edge_perception.encoders.camera.likeness import LIKENESS
from edge_perception.encoders.camera.options import CameraSourceOptions
from edge_perception.encoders.camera.pose_check import odd_pose, remark_on_pose
from edge_perception.encoders.camera.preprocess import golden_inputs
from edge_perception.encoders.camera.statistics import ImageStatistics

SPEC = EncoderSpec(
    modality="camera",
    topics=(
        TopicSpec(topic="camera/image_raw", type="sensor_msgs/msg/Image", way="raw"),
        TopicSpec(
            topic="camera/image_raw/compressed",
            type="sensor_msgs/msg/CompressedImage",
            way="compressed",
        ),
    ),
    calibration=TopicSpec(
        topic="camera/camera_info", type="sensor_msgs/msg/CameraInfo", latched=True
    ),
    read_calibration=geometry_from_camera_info,
    read_rectified=geometry_of_rectified,
    check_pose=odd_pose,
    remark_pose=remark_on_pose,
    rate_hz=10.0,
    default_model="bev_lite/camera",
    executable="camera_encoder",
    options=CameraSourceOptions,
    content=CONTENT,
    likeness=LIKENESS,
    statistics=ImageStatistics,
    golden_inputs=golden_inputs,
    alter=in_fog_with_noise,
    make_intake=make_intake,
    make_encoder=make_encoder,
)
