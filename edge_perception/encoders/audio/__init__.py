"""Audio: sound card samples to log-mel patches, an embedding and sound events."""

from edge_perception.encoders import EncoderSpec, TopicSpec
from edge_perception.encoders.audio.alter import with_noise
from edge_perception.encoders.audio.content import CONTENT
from edge_perception.encoders.audio.encoder import AudioEncoder, AudioIntake
from edge_perception.encoders.audio.options import AudioSourceOptions

SPEC = EncoderSpec(
    modality="audio",
    topics=(
        TopicSpec(
            topic="audio",
            type="edge_perception/msg/AudioChunk",
            reliable=True,
            depth=50,
            way="chunk",
        ),
        # ros-drivers/audio_common, under the names of its audio_capture node
        TopicSpec(
            topic="audio_stamped",
            type="audio_common_msgs/msg/AudioDataStamped",
            reliable=True,
            depth=50,
            optional=True,
            way="stamped",
        ),
        TopicSpec(
            topic="audio_info",
            type="audio_common_msgs/msg/AudioInfo",
            reliable=True,
            latched=True,
            optional=True,
            way="stamped",
        ),
        # mgonzs13/audio_common publishes best effort on `audio`, where another type is served
        TopicSpec(
            topic="audio_common",
            type="audio_common_msgs/msg/AudioStamped",
            depth=50,
            optional=True,
            way="common",
        ),
    ),
    rate_hz=10.0,
    default_model="bev_lite/audio",
    options=AudioSourceOptions,
    stateful=True,
    executable="audio_encoder",
    fusion_defaults={"locates": False, "reuse_s": 0.3, "max_age_s": 1.0},
    alter=with_noise,
    needs_pose=False,  # what is heard is right anywhere; where it comes from needs one
    content=CONTENT,
    describe_intake=AudioIntake.describe,
    make_intake=AudioIntake,
    make_encoder=AudioEncoder,
)
