"""Built-in architectures: each network of the paper, and small relatives, at any width."""
