"""Built-in metrics of single units: how alike, how selective and how dead they are."""
