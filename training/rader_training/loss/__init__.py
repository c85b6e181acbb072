"""What is minimised, and what happens where it is no number."""
