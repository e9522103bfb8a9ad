"""Simulated recordings with known rates and latents: Lorenz systems, speech-like trials, reaches.

Everything is keyed by (seed, trial index): a trial's content depends on neither order nor on how
many trials are drawn together.
"""
