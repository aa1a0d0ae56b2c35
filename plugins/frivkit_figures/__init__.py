"""Built-in figures: those of the paper, drawn from what a sweep found."""
