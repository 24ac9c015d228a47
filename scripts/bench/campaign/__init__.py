"""The chaos campaign: callers, faults and an auditor around a running service.

`scripts/bench/chaos.py` runs it. The auditor reads the database, the bucket and what callers and the webhook
receiver saw, and shares no code with the service's own checks.
"""
