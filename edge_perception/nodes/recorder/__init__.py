"""The event recorder: messages into a ring, events out of it."""
