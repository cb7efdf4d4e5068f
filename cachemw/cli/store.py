"""The store that a command is about, and the settings that say where it is."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cachemw.errors import CommandError, StoreError
from cachemw.proxy import Settings
from cachemw.proxy.settings import refuse_unknown_variables
from cachemw.stores import FileStore, Store


@contextmanager
def opened(directory: str, *, reading: bool = False) -> Iterator[Store]:
    """Open the store that is in a directory, by default that of the proxy; for who is only `reading`, no byte is changed.

    Raises `CommandError` and `ConfigurationError`.
    """
    with closing(store_in(directory)) as store, translated_errors(store):
        yield store.read_only() if reading else store


@contextmanager
def translated_errors(store: Store) -> Iterator[None]:
    """Raise what is wrong with a store as `CommandError`."""
    try:
        yield
    except StoreError as exc:
        raise CommandError(f"the store in {store.place} does not work: {exc.__cause__ or exc}") from exc


def store_in(directory: str) -> Store:
    """Return the store that is in a directory: the proxy's database, or files. Raises `CommandError` where there is none."""
    store = _proxys(directory)
    if store.exists():
        return store
    files = FileStore(store.place)
    if files.exists() and files.indexes():
        return files
    why = ": it has no database of cachemw's, and no records in files" if Path(store.place).is_dir() else ""
    raise CommandError(f"there is no store in {store.place}{why}")


def directory_of(directory: str) -> Path:
    """Return the directory that the proxy's store would have. Raises `ConfigurationError`."""
    return Path(_proxys(directory).place)


def _proxys(directory: str) -> Store:
    return settings_of(directory).store()


def settings_of(directory: str, upstream: str = "", config: str = "") -> Settings:
    """Return the settings that the proxy would have with these options. Raises `ConfigurationError`.

    A variable that is spelt wrong is an error: it may be the one that names the store.
    """
    refuse_unknown_variables(os.environ)
    given = {name: value for name, value in (("dir", directory), ("upstream", upstream)) if value}
    return Settings.read(given, os.environ, config)
