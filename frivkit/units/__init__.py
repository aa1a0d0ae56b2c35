"""Units of a layer: selectors, masks and perturbations of them, and statistics over them."""
