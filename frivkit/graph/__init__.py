"""The graph: a model, the sites where its units live, and copies with taps and masks."""
