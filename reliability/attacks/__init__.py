"""Attacks: files and names that were made to make the program read, write or run something else."""
