"""The command line: parse, call the library once, print. Nothing heavy is imported before a command runs."""

from cli.main import main

__all__ = ["main"]
