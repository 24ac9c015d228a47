"""Pixazo's gateway."""
