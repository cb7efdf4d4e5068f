"""One upstream response in progress, and everyone who reads it."""
