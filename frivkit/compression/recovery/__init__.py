"""Recovery: gradients through the whole compressed network, towards what the original computes."""
