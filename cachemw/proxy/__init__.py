"""The standalone proxy."""

from cachemw.proxy.app import Proxy, create
from cachemw.proxy.settings import Settings

__all__ = ["Proxy", "Settings", "create"]
