"""What a Hydra job means for its session."""
