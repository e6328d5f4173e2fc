"""Session life cycle."""
