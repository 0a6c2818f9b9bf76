"""What the verdict rests on. Every number names its feature space."""
