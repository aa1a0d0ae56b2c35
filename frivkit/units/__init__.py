"""What a unit is, what is summed of units, and what is done to them in a run."""
