"""Probabilities of options: tries, passes, and what a model can do."""
