"""Metadata, marks of generated media and signed manifests."""
