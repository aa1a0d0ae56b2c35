"""Built-in redundancy meter: how many units are linear combinations of others in their layer."""
