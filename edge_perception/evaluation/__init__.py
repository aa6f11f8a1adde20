"""How good a model set is: simulated frames with ground truth through the runtime's own code."""
