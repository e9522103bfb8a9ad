"""Training: one loop in plain PyTorch, and the same loop under Ray Train."""
