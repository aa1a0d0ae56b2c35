"""Built-in meters of single units: how alike, how selective and how dead they are."""
