"""Upstreams: where a miss is forwarded to."""

from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import cerebras, upstream_of

__all__ = ["HttpUpstream", "cerebras", "upstream_of"]
