"""Weights: those trained here, those that others published, and the import into our networks."""
