"""Trials sampled into a dataset, range by range: in this process, or by many at once."""
