"""What an evaluation says, what it costs, and whether it kept its limits."""
