"""The OpenAPI document, its annotations, and the documentation pages."""
