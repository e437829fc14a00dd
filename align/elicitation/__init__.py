"""A model's cube: in this process, or from a server."""
