"""Its summary: a frivkit plugin."""
