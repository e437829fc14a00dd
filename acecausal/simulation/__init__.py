"""Worlds whose truth is known: surveys, ratings, cells."""
