"""Checks of graphs and models against node facts, without an instance."""
