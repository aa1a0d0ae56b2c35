"""Built-in trainers: the training procedures of the paper."""
