"""Built-in trainers: the paper's recipe, given a network and data by the core."""
