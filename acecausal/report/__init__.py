"""The effect report."""
