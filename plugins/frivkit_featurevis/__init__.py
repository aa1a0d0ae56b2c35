"""Feature visualisation: images that excite units most, and how much structure they have."""
