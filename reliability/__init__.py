"""Suites that try to break frivkit: kills, concurrency, starvation, damaged files, attacks."""
