"""Upstreams: where a miss is forwarded to."""

from cachemw.upstreams.http import HttpUpstream, Timeouts
from cachemw.upstreams.providers import cerebras, upstream_of

__all__ = ["HttpUpstream", "Timeouts", "cerebras", "upstream_of"]
