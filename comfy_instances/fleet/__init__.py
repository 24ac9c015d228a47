"""Fleets of instances: launched or adopted, supervised, watched."""
