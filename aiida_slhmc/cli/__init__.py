"""Command line: ``aiida-slhmc``."""

from .main import main

__all__ = ["main"]
