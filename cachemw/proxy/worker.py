"""What each worker process of `cachemw serve` runs."""

import gc

from cachemw.proxy.app import create
from cachemw.proxy.gate import Gate


def work() -> Gate:
    """Make the proxy that the environment describes, in a process that has nothing else to do."""
    gc.collect()
    gc.freeze()  # what is imported stays: to look through it again and again is a good part of a hit's cost
    return create()
