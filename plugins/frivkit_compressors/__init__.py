"""Activational low-rank refactorization: bases, rankings and refits of ``frivkit compress``."""
