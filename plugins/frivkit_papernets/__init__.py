"""Built-in architectures: the networks of the paper and small variants, at any width."""
