"""What the data themselves say on the device: drift against a reference, and conditions."""
