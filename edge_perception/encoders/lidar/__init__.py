"""LiDARs: PointCloud2 of any layout to bird's-eye features, 3-D boxes and obstacle points."""

from edge_perception.encoders import EncoderSpec, TopicSpec
from edge_perception.encoders.lidar.alter import in_fog_with_noise
from edge_perception.encoders.lidar.content import CONTENT
from edge_perception.encoders.lidar.encoder import make_encoder, make_intake
from edge_perception.encoders.lidar.likeness import LIKENESS
from edge_perception.encoders.lidar.options import LidarSourceOptions
from edge_perception.encoders.lidar.pillar_encoder import golden_inputs
from edge_perception.encoders.lidar.statistics import SweepStatistics

SPEC = EncoderSpec(
    modality="lidar",
    topics=(TopicSpec(topic="lidar/points", type="sensor_msgs/msg/PointCloud2"),),
    rate_hz=10.0,
    default_model="bev_lite/lidar",
    options=LidarSourceOptions,
    executable="lidar_encoder",
    content=CONTENT,
    likeness=LIKENESS,
    statistics=SweepStatistics,
    golden_inputs=golden_inputs,
    alter=in_fog_with_noise,
    make_intake=make_intake,
    make_encoder=make_encoder,
)
