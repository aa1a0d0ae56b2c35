"""Built-in meters that disturb a network: prunability, noise, edited weights, frivolity."""
