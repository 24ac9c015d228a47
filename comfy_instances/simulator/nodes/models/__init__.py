"""Nodes that run a model on a real instance."""
