"""What the command line does beside serving; only the composition root knows it."""
