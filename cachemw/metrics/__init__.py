"""Metrics: what exchanges and the store's calls add up to, over all workers, as Prometheus reads it."""
