"""Personas, questions and options in words, as a model's template wants them."""
