"""Radars: PointCloud2 with a radial velocity to a grid of power and velocity, and objects."""

from edge_perception.encoders import EncoderSpec, TopicSpec

from .encoder import RadarEncoder, RadarIntake, golden_inputs, with_noise

SPEC = EncoderSpec(
    modality="radar",
    topics=(TopicSpec(topic="radar/points", type="sensor_msgs/msg/PointCloud2"),),
    rate_hz=20.0,
    default_model="radar_net",
    fusion_defaults={"max_age_s": 0.4},
    golden_inputs=golden_inputs,
    alter=with_noise,
    make_intake=RadarIntake,
    make_encoder=RadarEncoder,
)
