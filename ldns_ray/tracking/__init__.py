"""Runs, their parameters, metrics, figures, datasets and models in MLflow; nothing else knows MLflow."""
