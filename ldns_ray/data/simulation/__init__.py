"""Simulated recordings with known rates and latents."""
