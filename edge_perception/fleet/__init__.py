"""From one robot to a fleet: registry, synchronisation, telemetry, rollouts."""
