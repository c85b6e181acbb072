"""Samples as training wants them: read, checked, drawn into groups, turned into batches."""
