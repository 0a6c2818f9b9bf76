"""One training of a generator family, from records to weights: what is watched, what chooses, what is warm, who helps."""
