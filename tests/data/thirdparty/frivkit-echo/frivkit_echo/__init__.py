"""How evenly a network spreads its answers: a frivkit plugin."""
