"""What a person looks at: the camera image with the fused objects in it."""
