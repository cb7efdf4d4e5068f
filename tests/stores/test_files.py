"""One file for each record: readable, found by its digits alone, and refused by name where it is not what was written."""

import base64
import json
import multiprocessing
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw import ConfigurationError, FileStore, RecordError, StoreError
from cachemw.cache import record as codec
from cachemw.errors import RecordRefused
from cachemw.messages import Kind, StoredResponse, Usage
from cachemw.stores.file import form
from cachemw.stores.file.folder import name_of
from tests.cassettes import FOLDER

INDEX = bytes(range(16))
PROOF = bytes(range(32))
JSON_HEAD = ((b"content-type", b"application/json"),)
REQUEST = b'{"messages":[{"content":"Why is the sky blue?","role":"user"}],"model":"gpt-oss-120b","seed":7}'
ANSWER = (
    b'{"id":"x","model":"gpt-oss-120b-0915","choices":[{"index":0,"message":{"role":"assistant","content":"Bl\xc3\xbce"}}]}'
)


def stored(**members: Any) -> StoredResponse:
    """Return a stored response; `members` say where it differs."""
    response = StoredResponse(
        200,
        JSON_HEAD,
        ANSWER,
        (),
        (),
        Kind(False),
        PROOF,
        1_800_000_000.0,
        86_400.0,
        "chat",
        request=REQUEST,
        target="https://api.cerebras.ai:443/v1/chat/completions",
        model="gpt-oss-120b-0915",
        usage=Usage(812, 301, None, 0),
    )
    return msgspec.structs.replace(response, **members)


def stream_of(*events: bytes, rest: bytes = b"") -> dict[str, Any]:
    ends = tuple(sum(map(len, events[: count + 1])) for count in range(len(events)))
    head = ((b"content-type", b"text/event-stream"),)
    arrivals = tuple(0.25 * count for count in range(len(events)))
    return {"body": b"".join(events) + rest, "event_ends": ends, "arrivals": arrivals, "kind": Kind(True), "headers": head}


CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"Blue"}}]}\n\n'
DONE = b"data: [DONE]\n\n"

RECORDS = {
    "JSON": {},
    "JSON as OpenAI indents it": {"body": json.dumps(json.loads(ANSWER), indent=2, ensure_ascii=False).encode()},
    "JSON as Python writes it": {"body": json.dumps(json.loads(ANSWER)).encode()},
    "JSON with a line end": {"body": ANSWER + b"\r\n"},
    "JSON with names that come twice": {"body": b'{"a":1,"a":2}'},
    "JSON with numbers of another form": {"body": b'{"a":1.0,"b":-1.5e-7,"c":1E2,"d":0.00001}'},
    "JSON that is null": {"body": b"null"},
    "JSON that is a text": {"body": b'"text"'},
    "JSON with half a character": {"body": b'{"a":"\\ud800"}'},
    "no JSON": {"body": b"{"},
    "no UTF-8": {"body": b"\xff\xfe"},
    "nothing": {"body": b""},
    "JSON that is too deep": {"body": b"[" * 5000 + b"]" * 5000},
    "JSON with NaN": {"body": b'{"a":NaN}'},
    "a number of many digits": {"body": b"1" * 5000},
    "a stream": stream_of(CHUNK, CHUNK, DONE),
    "a stream with something behind": stream_of(CHUNK, DONE, rest=b": a comment"),
    "a stream with other events": stream_of(
        CHUNK, b"event: ping\ndata: {}\n\n", b'data:{"a":1}\r\n\r\n', b": no\ndata: \xff\n\n", DONE
    ),
    "a stream with spaces": stream_of(b'data: {"a": 1, "b": [2, 3]}\n\n', b'data: {"a":1}\n\n', DONE),
    "a stream of ASCII": stream_of(b'data: {"a":"\\u00fc"}\n\n', DONE),
    "no request": {"request": None},
    "a request that is no JSON": {"request": b"\xff{"},
    "a request in another form": {"request": b'{ "model": "m" }'},
    "no usage and no model": {"usage": None, "model": None},
    "odd headers": {"headers": ((b"content-type", b"application/json"), (b"content-language", b"\xe9\x00\r\n"))},
    "a sketch": {"sketch": b"\x00\xff"},
    "a lifetime that is no whole number": {"lifetime": 0.5},
    "options": {"kind": Kind(True, b'{"include_usage":true}')},
    "options in another form": {"kind": Kind(True, b'{ "include_usage": true }')},
    "a time of no calendar": {"stored_at": 1e18},
    "a time before the epoch": {"stored_at": -5.5},
}


@pytest.mark.parametrize("members", RECORDS.values(), ids=RECORDS.keys())
def test_a_record_comes_out_as_it_went_in_but_for_times(members: dict[str, Any]) -> None:
    """F3, D1."""
    record = codec.encode(stored(**members))

    text = form.write(INDEX, record, None)

    assert form.read(INDEX, text.encode()) in [(form.without_times(record), None), (record, None)]


texts = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
dumped = st.builds(
    lambda value, ascii_only, indent, tight: json.dumps(
        value, ensure_ascii=ascii_only, indent=indent, separators=(",", ":") if tight else None
    ).encode(errors="replace"),
    values,
    st.booleans(),
    st.sampled_from([None, None, 2, 4]),
    st.booleans(),
)
bodies = dumped | st.binary(max_size=40)
events = st.lists(
    st.builds(
        lambda data, end, space: b"data:" + space + data + end,
        bodies,
        st.sampled_from([b"\n\n", b"\r\n\r\n"]),
        st.sampled_from([b" ", b""]),
    )
    | st.binary(min_size=1, max_size=20),
    min_size=1,
    max_size=4,
)
differences = st.fixed_dictionaries(
    {
        "stored_at": st.floats(allow_nan=False, allow_infinity=False),
        "lifetime": st.floats(allow_nan=False) | st.integers(0, 10**6).map(float),
        "took": st.none() | st.floats(0, 100),
        "request": st.none() | bodies,
        "model": st.none() | texts,
        "target": texts,
        "proof": st.binary(max_size=32),
        "headers": st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=5)), max_size=3).map(tuple),
        "usage": st.none() | st.builds(Usage, st.none() | st.integers(0, 2**63 - 1), st.none() | st.integers(0, 9)),
    }
)
answers = st.builds(lambda body: {"body": body}, bodies) | st.builds(
    lambda events, rest: stream_of(*events, rest=rest), events, st.binary(max_size=5)
)


@given(members=differences, answer=answers)
def test_any_record_comes_out_as_it_went_in_but_for_times(members: dict[str, Any], answer: dict[str, Any]) -> None:
    """F3, D1."""
    record = codec.encode(stored(**{"headers": JSON_HEAD, **answer, **members}))

    got, _ = form.read(INDEX, form.write(INDEX, record, None).encode())

    assert got in (form.without_times(record), record)
    before, after = codec.decode(record), codec.decode(got)
    timeless = {"stored_at": 0.0, "took": None, "arrivals": ()}
    assert msgspec.structs.replace(after, **timeless) == msgspec.structs.replace(before, **timeless)


def written(tmp_path: Path, record: bytes, index: bytes = INDEX) -> tuple[FileStore, Path]:
    store = FileStore(tmp_path / "cassette")
    store.put(index, record, None)
    [path] = store.path.iterdir()
    return store, path


def test_what_can_be_read_is_readable_and_a_line_is_an_event(tmp_path: Path) -> None:
    """F3: a review shows what the model said."""
    _, path = written(tmp_path, codec.encode(stored(**stream_of(CHUNK, DONE), stored_at=1_800_000_000.75, took=2.5)))

    text = path.read_text(encoding="utf-8")

    document = json.loads(text)
    assert document["request"]["messages"][0]["content"] == "Why is the sky blue?"
    assert document["events"] == [{"data": {"choices": [{"index": 0, "delta": {"content": "Blue"}}]}}, DONE.decode()]
    assert (document["stored_at"], document["usage"]["input"]) == ("2027-01-15T08:00:00Z", 812)
    assert '    {"data": {"choices": [{"index": 0, "delta": {"content": "Blue"}}]}},\n' in text
    assert text.endswith("}\n")
    assert not {"arrivals", "times", "took"} & document.keys()


def test_an_answer_that_is_recorded_anew_differs_only_in_what_was_said(tmp_path: Path) -> None:
    """F3."""
    before, after = (
        form.write(INDEX, codec.encode(stored(**stream_of(CHUNK, DONE), stored_at=1.8e9 + late, took=late)), None)
        for late in (0.1, 0.7)
    )

    assert before == after


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*_s*.sse")) if FOLDER.is_dir() else [])
def test_real_streams_are_written_event_by_event(name: str) -> None:
    """F3."""
    body = (FOLDER / name).read_bytes()
    events = [event + b"\n\n" for event in body.split(b"\n\n") if event]
    members = stream_of(*events)

    document = json.loads(form.write(INDEX, codec.encode(stored(**members)), None))

    assert len(document["events"]) == len(events)
    assert "record" not in document


NAMES = [
    (stored(request=None, model="GPT-4o / Mini"), "gpt-4o-mini"),
    (stored(), "gpt-oss-120b"),
    (stored(request=None, model="../../etc/passwd"), "-..-etc-passwd"),
    (stored(request=None, model=".hidden"), "hidden"),
    (stored(request=None, model="..."), "record"),
    (stored(request=None, model=""), "record"),
    (stored(request=None, model=None), "record"),
    (stored(request=None, model="a" * 99), "a" * 48),
    (stored(request=None, model="ünïcode\n\x00"), "-n-code-"),
    (stored(request=b'{"model":"../x"}'), "-x"),
    (stored(request=b'{"model":7}', model="m"), "m"),
]


@pytest.mark.parametrize(("response", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_file_is_called_after_the_model(response: StoredResponse, name: str, tmp_path: Path) -> None:
    """D1: for people; nothing in it leads anywhere."""
    _, path = written(tmp_path, codec.encode(response))

    assert path.name == f"{name}--{INDEX.hex()}.json"
    assert re.fullmatch(r"(?!\.)[a-z0-9._-]{1,48}--[0-9a-f]{32}\.json", path.name)


@given(model=st.text())
def test_no_model_makes_a_path(model: str) -> None:
    """D1."""
    assert re.fullmatch(r"(?!\.)[a-z0-9._-]{1,48}--[0-9a-f]{32}\.json", name_of(model, INDEX))


def test_a_file_is_found_by_its_digits_alone(tmp_path: Path) -> None:
    """D1."""
    record = codec.encode(stored())
    store, path = written(tmp_path, record)
    path.rename(path.with_name(f"anything at all--{INDEX.hex()}.json"))

    assert store.get(INDEX) == record


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def in_json(path: Path, **members: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | members), encoding="utf-8")


CHANGES: dict[str, Callable[[Path], object]] = {
    "another answer": lambda path: edited(path, "Blüe", "Red"),
    "another question": lambda path: edited(path, "sky", "sea"),
    "another seed": lambda path: edited(path, '"seed": 7', '"seed": 8'),
    "another key": lambda path: edited(path, INDEX.hex(), PROOF[16:].hex()),
    "another status": lambda path: in_json(path, status=201),
    "a status that is none": lambda path: in_json(path, status="200"),
    "a longer lifetime": lambda path: in_json(path, lifetime=86_401),
    "another time": lambda path: in_json(path, stored_at="2027-01-15T08:00:01Z"),
    "no time": lambda path: in_json(path, stored_at="soon"),
    "an end": lambda path: in_json(path, expires="2099-01-15T08:00:01Z"),
    "another kind": lambda path: in_json(path, kind={"stream": True, "options": {}}),
    "no kind": lambda path: in_json(path, kind=7),
    "another proof": lambda path: in_json(path, proof="00" * 32),
    "a proof that is none": lambda path: in_json(path, proof="no"),
    "another head": lambda path: in_json(path, headers=[["content-type", "text/html"]]),
    "a head that is none": lambda path: in_json(path, headers=[["€", "a"]]),
    "another form": lambda path: in_json(path, form="spaced"),
    "a form that is none": lambda path: in_json(path, form="none"),
    "other usage": lambda path: in_json(path, usage={"input": 1}),
    "usage that is none": lambda path: in_json(path, usage={"seconds": 1}),
    "a record": lambda path: in_json(path, record=base64.b64encode(b"record").decode()),
    "no base64": lambda path: in_json(path, record="?"),
    "an unknown member": lambda path: in_json(path, note="mine"),
    "another version": lambda path: in_json(path, cachemw=1),
    "no checksum": lambda path: in_json(path, checksum=""),
    "events": lambda path: in_json(path, events=[{"data": 1}]),
    "events that are none": lambda path: in_json(path, events=[{"base64": 7}]),
    "a cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "nothing": lambda path: path.write_bytes(b""),
    "another encoding": lambda path: path.write_bytes(b"\xff" + path.read_bytes()),
    "a conflict": lambda path: path.write_text(f"<<<<<<< HEAD\n{path.read_text()}=======\n{path.read_text()}>>>>>>> other\n"),
    "a list": lambda path: path.write_text("[]"),
    "too deep": lambda path: path.write_text("[" * 100_000),
    "NaN": lambda path: path.write_text('{"cachemw": NaN}'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_was_changed_is_refused_by_its_name(change: Callable[[Path], object], tmp_path: Path) -> None:
    """F3, D1: and never served as something else."""
    store, path = written(tmp_path, codec.encode(stored()))
    change(path)

    with pytest.raises(RecordError, match=re.escape(str(path))):
        store.get(INDEX)

    assert list(store.scan()) == []
    store.put(INDEX, codec.encode(stored()), None)
    assert store.get(INDEX) == codec.encode(stored())


def test_a_file_that_only_looks_different_is_the_same_record(tmp_path: Path) -> None:
    """An editor that indents, or git that ends lines in another way, changes nothing that was said."""
    record = codec.encode(stored())
    store, path = written(tmp_path, record)
    in_json(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert store.get(INDEX) == record


@pytest.mark.parametrize("change", ["swapped", "renamed"])
def test_a_record_under_another_name_is_refused(change: str, tmp_path: Path) -> None:
    """D1."""
    store, path = written(tmp_path, codec.encode(stored()))
    other = PROOF[:16][::-1]
    path.rename(path.with_name(path.name.replace(INDEX.hex(), other.hex())))
    if change == "swapped":
        store.put(INDEX, codec.encode(stored(body=b"{}")), None)

    with pytest.raises(RecordError, match="key"):
        store.get(other)


def test_two_files_of_one_record_are_both_refused_until_one_is_put(tmp_path: Path) -> None:
    """A merge may bring both; neither is better."""
    record = codec.encode(stored())
    store, path = written(tmp_path, record)
    (store.path / f"other--{INDEX.hex()}.json").write_bytes(path.read_bytes())

    with pytest.raises(RecordError, match="two files"):
        store.get(INDEX)
    store.put(INDEX, record, None)

    assert [left.name for left in store.path.iterdir()] == [path.name]
    assert store.get(INDEX) == record


def linked(path: Path, outside: Path) -> None:
    path.rename(outside)
    path.symlink_to(outside)


def lost(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside)


def a_directory(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


ODD = {"a link to a record": linked, "a link that leads nowhere": lost, "a directory": a_directory, "a pipe": a_pipe}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_nothing_is_followed_out_of_the_directory(make: Callable[[Path, Path], object], tmp_path: Path) -> None:
    """F3: nor waited for."""
    store, path = written(tmp_path, codec.encode(stored()))
    make(path, tmp_path / "outside")

    with pytest.raises(StoreError, match=re.escape(str(path))):
        store.get(INDEX)


def test_what_is_no_record_is_left_alone(tmp_path: Path) -> None:
    store, _ = written(tmp_path, codec.encode(stored()))
    others = [
        store.path / name for name in ("README.md", ".gitattributes", "x.json", f"m--{INDEX.hex()}.json.orig", "a--b.json")
    ]
    for other in others:
        other.write_text("mine")

    assert (store.count(), len(list(store.scan())), store.clear()) == (1, 1, 1)
    assert sorted(store.path.iterdir()) == sorted(others)


def test_what_a_killed_writer_left_is_no_record_and_goes_with_the_rest(tmp_path: Path) -> None:
    store, _ = written(tmp_path, codec.encode(stored()))
    (store.path / ".cachemw-0123").write_text("{")

    assert store.count() == 1
    store.clear()
    assert list(store.path.iterdir()) == []


def test_a_put_that_fails_leaves_the_earlier_record_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = codec.encode(stored())
    store, path = written(tmp_path, record)

    def fail(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(StoreError, match="No space left"):
            store.put(INDEX, codec.encode(stored(body=b"{}")), None)

    assert list(store.path.iterdir()) == [path]
    assert store.get(INDEX) == record


def put_many(directory: Path, number: int) -> None:
    store = FileStore(directory)
    for turn in range(20):
        index = bytes([turn % 4]) * 16
        store.put(index, codec.encode(stored(body=b'{"by":%d}' % number, model=f"m{number}", request=None)), None)


def test_several_processes_write_each_record_whole(tmp_path: Path) -> None:
    """F3: as the workers of pytest-xdist do."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=put_many, args=(tmp_path / "c", number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    store = FileStore(tmp_path / "c")

    for name, digits in store._folder.names().items():
        form.read(bytes.fromhex(digits), (store.path / name).read_bytes())
    assert set(store._folder.names().values()) == {(bytes([n]) * 16).hex() for n in range(4)}
    assert not [path for path in store.path.iterdir() if path.name.startswith(".")]


# Read only.


def snapshot(directory: Path) -> dict[str, Any]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in (directory, *sorted(directory.rglob("*")))
    }


def test_who_only_replays_changes_no_byte(tmp_path: Path) -> None:
    """F3."""
    record = codec.encode(stored())
    written_to, _ = written(tmp_path, record)
    store, before = written_to.read_only(), snapshot(written_to.path)

    assert (store.get(INDEX), store.get(PROOF[:16][::-1]), store.count()) == (record, None, 1)
    assert list(store.scan()) == [(INDEX, record)]
    store.discard(INDEX)
    for change in (lambda: store.put(INDEX, record, None, store.order()), lambda: store.delete(INDEX), store.clear):
        with pytest.raises(RecordRefused, match="only replayed"):
            change()

    assert snapshot(written_to.path) == before


def test_there_has_to_be_something_to_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F3: the absolute path shows that it was started in another directory."""
    monkeypatch.chdir(tmp_path)
    store = FileStore("tests/cassette")

    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "tests" / "cassette"))):
        store.read_only()

    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_goes_while_it_is_replayed_from_is_an_error(tmp_path: Path) -> None:
    written_to, path = written(tmp_path, codec.encode(stored()))
    store = written_to.read_only()
    path.unlink()
    store.path.rmdir()

    for ask in (lambda: store.get(INDEX), store.count):
        with pytest.raises(StoreError, match=re.escape(str(store.path))):
            ask()


def test_it_has_no_secret_but_the_one_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D1: a directory in git is no place for one."""
    with pytest.raises(StoreError, match=r"shared.*CACHEMW_SECRET"):
        FileStore(tmp_path).secret()
    monkeypatch.setenv("CACHEMW_SECRET", "a secret of many bytes")

    store = FileStore(tmp_path)

    assert (store.secret(), store.keeps_secret) == (b"a secret of many bytes", True)
