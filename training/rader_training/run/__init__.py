"""A run: its folder, plan, trainer, checkpoints, and the verdict on what came of it."""
