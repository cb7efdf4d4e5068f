"""Decisions about one request: its key, what may answer it, what is kept. Pure: no I/O, no clock."""
