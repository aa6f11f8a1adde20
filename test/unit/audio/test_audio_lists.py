"""AudioStamped has one list for each format: the one that is named, and what is in the others."""

from array import array

import pytest
from audio_messages import audio_stamped

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.audio.foreign import MessageConverter


@pytest.mark.parametrize(
    ("lists", "where"),
    [
        ({"float32_data": array("f", [0.25] * 64)}, "float32_data"),
        ({"int16_data": array("h")}, "none of the lists"),
    ],
)
def test_samples_in_another_list_than_their_format_says(lists, where):
    message = audio_stamped(format=8, **lists)
    with pytest.raises(InvalidFrameError, match=f"int16_data, which is empty; they are in {where}"):
        MessageConverter().convert(message)
