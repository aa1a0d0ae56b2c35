"""its summary: a frivkit plugin."""
