"""Analyses of labelled frames and ensembles: plain arrays in, numbers with their uncertainty out."""
