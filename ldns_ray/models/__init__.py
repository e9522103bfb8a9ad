"""Autoencoder, denoiser, diffusion and observation models: PyTorch alone."""
