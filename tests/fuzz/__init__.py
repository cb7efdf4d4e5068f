"""Functions that take any bytes and fail where the product does: `python -m tests.fuzz` searches for such bytes."""
