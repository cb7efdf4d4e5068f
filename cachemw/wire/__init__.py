"""HTTP's own words: header fields, hosts, paths, event streams, JSON. Pure."""
