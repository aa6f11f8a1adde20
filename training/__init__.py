"""Training of the reference models `bev_lite`; a development dependency only."""
