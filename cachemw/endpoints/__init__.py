"""The API calls that are understood: how each is read, judged and derived. Pure."""
