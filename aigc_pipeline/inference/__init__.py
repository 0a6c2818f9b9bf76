"""A finished generator at work: samples, pictures between samples, exports and smaller variants, from a checkpoint alone."""
