"""The model manager node: what it is asked, what it does unasked, and its fleet."""
