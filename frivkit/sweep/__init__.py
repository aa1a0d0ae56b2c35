"""Sweeps: many networks trained and measured, one piece of work after another, and resumed."""
