"""Readers of recordings, one module per file format."""
