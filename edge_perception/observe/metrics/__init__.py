"""What a running pipeline tells Prometheus: one list, its exposition, rules and dashboards."""
