"""Audio: sound card samples to log-mel patches, an embedding and sound events."""

from edge_perception.encoders import EncoderSpec, TopicSpec
from edge_perception.encoders.audio.encoder import AudioEncoder, AudioIntake

SPEC = EncoderSpec(
    modality="audio",
    topics=(
        TopicSpec(topic="audio", type="edge_perception/msg/AudioChunk", reliable=True, depth=50),
    ),
    rate_hz=10.0,
    default_model="bev_lite/audio",
    make_intake=AudioIntake,
    make_encoder=AudioEncoder,
)
