"""Tests for plugin authors: a check for each hook, and small networks with known answers."""
