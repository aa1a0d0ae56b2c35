"""Engines: where tasks run, in this process, in others, or on other machines."""
