"""The simulator's HTTP routes and websockets."""
