"""Models: where they lie, which they are, and whether they are whole."""
