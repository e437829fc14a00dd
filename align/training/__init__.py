"""From cube and recipe to adapter."""
