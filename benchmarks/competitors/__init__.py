"""Competitors: frivkit and the other ways to do the same work."""
