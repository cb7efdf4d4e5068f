"""The standalone proxy."""

from cachemw.proxy.app import Proxy, create
from cachemw.proxy.gate import Gate
from cachemw.proxy.settings import Settings

__all__ = ["Gate", "Proxy", "Settings", "create"]
