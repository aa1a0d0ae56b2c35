"""Whether a GPU computes what the CPU does, and how much faster."""
