"""Training of MACE models: datasets, reference energies, the loop."""
