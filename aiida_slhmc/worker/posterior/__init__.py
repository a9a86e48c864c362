"""Samples of the posterior of a MACE model's weights: on-the-fly Bayesian fine-tuning."""
