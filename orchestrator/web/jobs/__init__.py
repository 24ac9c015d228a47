"""Jobs as a resource: routes, live events, waiting, output URLs."""
