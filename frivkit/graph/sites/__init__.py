"""Sites of a model: their producers, consumers, couplings and pruning groups."""
