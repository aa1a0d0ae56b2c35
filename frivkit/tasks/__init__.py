"""Tasks: what the outputs of a network say, and how those of two networks are compared."""
