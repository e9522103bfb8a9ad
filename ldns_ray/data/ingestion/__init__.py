"""Recordings of many files to one dataset: found, read in parallel, split, written."""
