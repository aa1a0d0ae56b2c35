"""Running sums and radial basis functions: a frivkit plugin."""
