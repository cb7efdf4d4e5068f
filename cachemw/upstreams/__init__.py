"""Upstreams: who answers what the store does not."""

from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import cerebras, upstream_of
from cachemw.upstreams.timing import Timeouts

__all__ = ["HttpUpstream", "Timeouts", "cerebras", "upstream_of"]
