"""Built-in unit selectors: a feature map is a unit, or every position of it."""
