"""Self-learning hybrid Monte Carlo for MACE, with whole provenance in AiiDA."""

__version__ = "0.1.0"
