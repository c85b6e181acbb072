"""From problems, or from an application's own LLM trajectories, to training samples."""
