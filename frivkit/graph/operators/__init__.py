"""What each operator does to units, one family of operators a file."""
