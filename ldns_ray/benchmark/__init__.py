"""Measurements against the usual way of doing the same."""
