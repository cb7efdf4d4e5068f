"""Stores: where records are kept."""

from cachemw.stores.base import Inline, Store
from cachemw.stores.disk.store import DiskStore
from cachemw.stores.file.store import FileStore
from cachemw.stores.memory import MemoryStore

__all__ = ["DiskStore", "FileStore", "Inline", "MemoryStore", "Store"]
