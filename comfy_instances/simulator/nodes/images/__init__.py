"""Nodes that change images and masks."""
