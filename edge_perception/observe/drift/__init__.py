"""References of drift from recordings, and recordings held against them."""
