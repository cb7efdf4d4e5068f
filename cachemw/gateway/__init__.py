"""The gateway: many providers behind one key. Which target answers, what is done when one fails, and what it cost."""

from cachemw.gateway.upstream import Gateway

__all__ = ["Gateway"]
