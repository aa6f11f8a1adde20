"""Lock step: the vehicle's own encoders and fusion on the virtual time of a recording."""
