"""The jobs API: routes, schemas, live events, waiting for results, output URLs."""
