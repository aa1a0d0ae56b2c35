"""Measuring: threads, timed rounds, fresh processes, stored rows, scores."""
