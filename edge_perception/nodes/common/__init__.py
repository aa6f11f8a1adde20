"""What every node has: lifecycle, parameters, log, time, diagnostics, services, its end."""
