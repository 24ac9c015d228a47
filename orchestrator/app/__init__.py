"""Wiring: from settings to a started service. The only package that chooses implementations."""
