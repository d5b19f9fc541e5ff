"""The systems: what all share, and what each of the three kinds does."""
