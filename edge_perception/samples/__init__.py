"""What is recorded: real frames, simulated drives, sounds, what is known of them, and matching."""
