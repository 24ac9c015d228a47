"""Instances on the nodes of a Ray cluster: agents that supervise them there, and the fleet that uses them.

Ray places the agents and says where they are. Everything else goes directly to an agent's HTTP server.
Only `bridge` and `actor` import Ray, and neither runs in the process of the service.
"""
