"""Builds a service from its settings. The only package that chooses implementations."""
