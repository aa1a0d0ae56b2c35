"""Experiments with single networks of any architecture, trained and measured one by one."""
