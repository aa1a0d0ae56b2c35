"""Built-in unit selectors: a feature map is a unit, or every place of it is."""
