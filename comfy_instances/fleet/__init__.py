"""Fleets of instances: launched and supervised here, or adopted and monitored."""
