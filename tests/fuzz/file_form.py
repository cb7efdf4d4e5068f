"""A file of a cassette: refused, or read as the record that it says it is, which is written again in the same words."""

from cachemw.errors import RecordError
from cachemw.stores.file import form

INDEX = bytes(range(16))


def fuzz_one(data: bytes) -> None:
    """D8, F3."""
    try:
        record, expires = form.read(INDEX, data)
    except RecordError:
        return
    assert form.read(INDEX, form.write(INDEX, record, expires).encode()) in (
        (record, expires),
        (form.without_times(record), expires),
    )
