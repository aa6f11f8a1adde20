"""Seeded street scenes and the camera, LiDAR and audio they would give, with ground truth."""
