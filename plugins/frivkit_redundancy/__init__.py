"""Built-in metrics of linear dependence between units: redundancy and predictability."""
