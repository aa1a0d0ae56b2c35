"""Damaged and misleading files of every kind that the program reads."""
