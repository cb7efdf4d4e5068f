"""How fast it is, measured against what the same machine does without it: `python -m benchmarks`."""
