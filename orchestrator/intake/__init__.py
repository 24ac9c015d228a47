"""Prepares requests: validates parameters, reads input files, computes the price and checks the capacity."""
