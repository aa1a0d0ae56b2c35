"""Benchmarks: what frivkit's runs cost beside plain runs and other ways to do the same work."""
