"""Full-scale repetition of the paper's experiments with multilayer perceptrons."""
