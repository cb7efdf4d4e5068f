"""The store of files: one file of JSON for each record."""
