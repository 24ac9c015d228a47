"""Inferring the parameters of an imported graph."""
