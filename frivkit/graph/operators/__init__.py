"""Operators, one family in each file: their effect on units, and their edits for fewer units."""
