"""Models made to fit the machine: what runs here, and what runs best."""
