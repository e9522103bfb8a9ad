"""Sweeps: where their points come from, how a trial runs, how they go on after a fault, and what comes of them."""
