"""Stores: where records are kept."""

from cachemw.stores.base import Store
from cachemw.stores.disk.store import DiskStore
from cachemw.stores.memory import MemoryStore

__all__ = ["DiskStore", "MemoryStore", "Store"]
