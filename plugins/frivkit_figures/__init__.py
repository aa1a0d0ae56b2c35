"""Built-in figures: those of the paper, drawn from the results of a sweep."""
