"""How work scales to more workers than there are here: a simulation fitted to measured times."""
