"""Tables and pictures of stored results."""
