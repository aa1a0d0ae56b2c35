"""The plugin door: hook specs, the registry that finds plugins, and their options."""
