"""Graphs with expressions, and the graphs rendered from them."""
