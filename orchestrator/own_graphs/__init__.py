"""Callers' own graphs: what they may hold, and how one becomes a model that the service runs. Pure."""

from __future__ import annotations

#: Id under which jobs of callers' own graphs are stored, charged and reported. No model has it.
OWN_GRAPH_ID = "own-graph"
