"""Simple models of the training trials, which a good one has to beat."""
