"""The default store: diskcache in a directory of its own."""
