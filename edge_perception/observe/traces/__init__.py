"""Fused views as traces of OpenTelemetry: where the time of one message went, node by node."""
