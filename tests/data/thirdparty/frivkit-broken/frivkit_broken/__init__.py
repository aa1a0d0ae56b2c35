"""A frivkit plugin whose own dependency is not installed."""
