"""Small databases for money: shared, this user's alone, and never half written."""

import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cachemw.errors import BookError
from cachemw.ledger.book import Book

SCHEMA = ("CREATE TABLE lines (number INTEGER)",)


def book_at(path: Path, patience: float = 5.0) -> Book:
    return Book(path, SCHEMA, 1, patience=patience)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with closing(book_at(tmp_path / "book.db")) as made:
        yield made


def write(book: Book, *numbers: int) -> None:
    with book.transact() as connection:
        for number in numbers:
            connection.execute("INSERT INTO lines VALUES (?)", (number + 0,))


def lines(book: Book) -> list[int]:
    return [number for (number,) in book.rows("SELECT number FROM lines ORDER BY number")]


def test_what_was_begun_and_failed_is_not_there(book: Book) -> None:
    write(book, 1)
    with pytest.raises(TypeError):
        write(book, 2, None)  # type: ignore[arg-type]

    assert lines(book) == [1]


def test_what_sqlite_refuses_is_an_error_of_ours_and_the_book_goes_on(book: Book) -> None:
    write(book, 1)
    with pytest.raises(BookError) as caught:
        book.rows("no statement")

    assert isinstance(caught.value.__cause__, sqlite3.Error)
    write(book, 4)
    assert lines(book) == [1, 4]


def test_a_thread_that_holds_the_book_is_waited_for_only_so_long(tmp_path: Path) -> None:
    with closing(book_at(tmp_path / "book.db", patience=0.01)) as book, book.transact():
        failures: list[BookError] = []

        def look() -> None:
            try:
                write(book, 1)
            except BookError as exc:
                failures.append(exc)

        other = threading.Thread(target=look)
        other.start()
        other.join()

    assert len(failures) == 1


def test_who_reads_waits_for_nobody_who_writes(book: Book) -> None:
    """An event loop reads what is spent, and everybody would wait with it."""
    write(book, 1)
    found: list[list[int]] = []
    with book.transact() as connection:
        connection.execute("INSERT INTO lines VALUES (2)")
        other = threading.Thread(target=lambda: found.append(lines(book)))
        other.start()
        other.join()

    assert found == [[1]]
    assert lines(book) == [1, 2]


def _begin(path: str) -> None:
    with closing(book_at(Path(path))) as book:
        write(book, *range(20))


def test_processes_that_begin_a_book_at_once_have_one(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_begin, [str(tmp_path / "book.db")] * 8, chunksize=1)

    with closing(book_at(tmp_path / "book.db")) as book:
        assert len(lines(book)) == 160


def test_a_book_on_the_way_to_which_others_may_put_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    with closing(book_at(tmp_path / "open" / "mine" / "book.db")) as book, pytest.raises(BookError, match="may be written to"):
        write(book, 1)
