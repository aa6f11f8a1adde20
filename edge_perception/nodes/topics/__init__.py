"""How messages of topics come in: types, quality of service, who publishes, taken in place."""
