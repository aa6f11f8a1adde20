"""What runs: processes, supervision, transport, parameter files, domains."""
