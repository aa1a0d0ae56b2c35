"""Built-in metrics that perturb a network: prunability, noise, edited weights, frivolity."""
