"""Upstreams: where a miss is forwarded to."""

from cachemw.upstreams.base import Timeouts
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import cerebras, upstream_of

__all__ = ["HttpUpstream", "Timeouts", "cerebras", "upstream_of"]
