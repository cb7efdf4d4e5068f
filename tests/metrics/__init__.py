"""Metrics: counted in each worker, and summed where they are read."""
