"""The cube: lattice, schema, files, and what a cube says against its own numbers."""
