"""Records that come in again: as they were, under another key where their request makes one, or not at all."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw import DiskStore, FileStore, Policy, RecordError, sdk
from cachemw.cache import record as codec
from cachemw.cache.key import SHARED
from cachemw.cassette import Cassette
from cachemw.inventory.admitting import Addressee
from cachemw.inventory.exporting import ExportForm, WrittenRecord, written
from cachemw.inventory.importing import ImportTerms, IncomingRecord, Placement, place, read_in
from cachemw.limits import Limits
from cachemw.messages import HttpRecipient, HttpTarget, Recipient
from cachemw.simulator import Simulator
from cachemw.stores import Store
from cachemw.stores.file import form
from tests.inventory.exchanges import COUNT, CREDENTIAL, KEEPING, disk, files_of, record_all, said_by_all, terms_for
from tests.serving import serving_in_thread


def everybody(_: Recipient) -> bytes:
    return SHARED


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_in_thread(Simulator()) as served:
        yield served


@pytest.fixture(scope="module")
def recorded(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DiskStore, dict[str, Any]]]:
    """A store with an answer of every endpoint, all of them one caller's own, and what the SDKs read."""
    store = disk(tmp_path_factory.mktemp("recorded") / "store")
    said = record_all(url, store)
    yield store, said
    store.close()


@pytest.fixture(scope="module")
def files(recorded: tuple[DiskStore, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files_of(recorded[0], tmp_path_factory.mktemp("files"))


def digits_of(name: str) -> str:
    return name.removesuffix(".json").rpartition("--")[2]


def import_all(files: dict[str, str], store: Store, terms: ImportTerms) -> dict[str, str | tuple[Placement, IncomingRecord]]:
    """Import files; return what came of each."""
    came: dict[str, str | tuple[Placement, IncomingRecord]] = {}
    for name, text in files.items():
        found = read_in(text.encode(), digits_of(name), terms, time.time())
        came[name] = found if isinstance(found, str) else (place(found, store, Limits(), time.time()), found)
    return came


def test_what_goes_out_and_comes_in_again_goes_out_as_the_same_files(
    recorded: tuple[DiskStore, dict[str, Any]], files: dict[str, str], tmp_path: Path
) -> None:
    """O7: into another directory, under the same secret."""
    other = disk(tmp_path / "other")

    came = import_all(files, other, terms_for(secret=recorded[0].secret()))

    assert len(files) == COUNT
    assert all(not isinstance(one, str) and one[0] is Placement.IMPORTED and not one[1].is_rekeyed for one in came.values()), (
        came
    )
    exported = {bytes.fromhex(digits_of(name)) for name in files}
    assert dict(other.scan()) == {index: record for index, record in recorded[0].scan() if index in exported}
    assert files_of(other, tmp_path / "again") == files
    other.close()


def test_a_shared_store_goes_out_as_the_same_files_whichever_secret_it_has(url: str, tmp_path: Path) -> None:
    """O7: the request is enough, and there is no seal."""
    first, second = disk(tmp_path / "one"), disk(tmp_path / "two")
    record_all(url, first, Policy(default="on", keep_requests=True, partition="shared"))
    before = files_of(first, tmp_path / "before", secret=first.secret())

    import_all(before, second, terms_for(secret=second.secret()))

    assert first.secret() != second.secret()
    assert files_of(second, tmp_path / "after", secret=second.secret()) == before
    first.close()
    second.close()


def test_what_was_one_callers_own_is_a_cassette_for_all_and_every_sdk_reads_the_same(
    url: str, recorded: tuple[DiskStore, dict[str, Any]], files: dict[str, str], tmp_path: Path
) -> None:
    """O7, D1: re-keyed by its request, and then a hit, with another key or none."""
    came = import_all(files, FileStore(tmp_path / "cassette"), terms_for(whose=everybody, origin=recorded[0].secret()))

    assert not [one for one in came.values() if isinstance(one, str)]
    cassette = Cassette(tmp_path / "cassette", "replay")
    said = said_by_all(url, cassette.http_client(openai), cassette.http_client(anthropic), "somebody-else")

    assert {name: str(one) for name, one in said.items()} == {name: str(one) for name, one in recorded[1].items()}
    assert not any(CREDENTIAL in path.read_text() for path in (tmp_path / "cassette").iterdir())
    cassette.close()


def test_a_cassette_that_was_made_so_goes_out_and_in_as_the_same_files(files: dict[str, str], tmp_path: Path) -> None:
    """O7: import(export(x)) is x, and the second time nothing gets a new key."""
    cassette = FileStore(tmp_path / "cassette")
    import_all(files, cassette, terms_for(whose=everybody))
    before = files_of(cassette, tmp_path / "before")

    came = import_all(before, FileStore(tmp_path / "again"), terms_for(whose=everybody))

    assert {path.name: path.read_text() for path in cassette.path.iterdir()} == before
    assert files_of(FileStore(tmp_path / "again"), tmp_path / "after") == before
    assert not any(isinstance(one, str) or one[1].is_rekeyed for one in came.values())


def test_what_is_there_already_stays(recorded: tuple[DiskStore, dict[str, Any]], files: dict[str, str]) -> None:
    before = dict(recorded[0].scan())

    came = import_all(files, recorded[0], terms_for(secret=recorded[0].secret()))

    assert {one if isinstance(one, str) else one[0] for one in came.values()} == {Placement.PRESENT}
    assert dict(recorded[0].scan()) == before


def test_under_another_secret_it_is_refused_unless_somebody_says_whose_it_shall_be(
    files: dict[str, str], tmp_path: Path
) -> None:
    """O7: its key is made of the secret, so nobody would ever find it."""
    other = disk(tmp_path / "other")

    came = import_all(files, other, terms_for(secret=other.secret()))

    assert {str(one) for one in came.values()} == {
        "it was made under another store's secret, and nobody would find it: say by --partition whose it shall be"
    }
    assert other.count() == 0
    other.close()


# What somebody has changed.


def one_of(files: dict[str, str], model: str = "gpt-oss-120b", member: str = "body") -> tuple[str, dict[str, Any]]:
    """Return a chat completion among the files: its name, and what is in it."""
    return next(
        (name, document)
        for name, text in files.items()
        if name.startswith(model) and member in (document := json.loads(text)) and "tools" not in document["request"]
    )


def with_member(document: dict[str, Any], path: str, value: Any) -> str:
    """Return a text with another value somewhere, and the old checksum."""
    *way, last = path.split("/")
    inner: Any = document
    for step in way:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = value
    return json.dumps(document)


def sealed_anew(text: str) -> str:
    """Return a changed text with the checksum that it would have: by somebody who knows how."""
    found, document = form.parse(text.encode()), json.loads(text)
    framed = b"".join(len(part).to_bytes(8) + part for part in (found.index, found.record, b""))
    return json.dumps({**document, "checksum": f"xxh3:{xxhash.xxh3_64_hexdigest(framed)}"})


Change = Callable[[dict[str, Any]], str]

CHANGES: dict[str, tuple[Change, str | None]] = {
    "another answer": (lambda one: with_member(one, "body/choices/0/message/content", "Green."), None),
    "another request": (lambda one: with_member(one, "request/messages/0/content", "Why is it green?"), None),
    "another key": (lambda one: with_member(one, "key", "00" * 16), None),
    "another proof": (lambda one: with_member(one, "proof", "00" * 32), None),
    "another time": (lambda one: with_member(one, "stored_at", "2026-01-01T00:00:00Z"), "no record any more"),
    "another model asked": (lambda one: with_member(one, "request/model", "gpt-4"), None),
    "an ending that is no end": (
        lambda one: with_member(one, "body/choices/0/finish_reason", "content_filter"),
        "cannot be kept",
    ),
    "no choice": (lambda one: with_member(one, "body/choices", []), "cannot be kept"),
    "another status": (lambda one: with_member(one, "status", 500), "cannot be kept"),
    "another type": (lambda one: with_member(one, "headers", [["content-type", "text/html"]]), "cannot be kept"),
    "another kind": (lambda one: with_member(one, "kind/stream", True), "cannot be kept"),
    "another target": (lambda one: with_member(one, "target", "nobody/m"), "no upstream of these settings"),
    "another endpoint": (lambda one: with_member(one, "endpoint", "rerank"), "cannot be cached"),
    "an endpoint of nobody": (lambda one: with_member(one, "endpoint", "palmistry"), "no endpoint that is known"),
    "a stored answer of the future": (
        lambda one: with_member({**one, "stored_at": "2096-10-02T07:06:40Z"}, "times", {"stored_at": 4e9}),
        "cannot have been stored",
    ),
    "a time of no calendar": (lambda one: with_member(one, "times", {"stored_at": 1e17}), "no record any more"),
    "a time without end": (lambda one: with_member(one, "lifetime", 1e300), "cannot have been stored"),
    "a request that is none": (lambda one: with_member(one, "request", [1]), "cannot be cached"),
    "a request that bypasses": (lambda one: with_member(one, "request/store", True), "cannot be cached"),
    "no request": (lambda one: json.dumps({k: v for k, v in one.items() if k != "request"}), "no request to make a new key of"),
    "a key that is none": (lambda one: with_member(one, "key", "../../etc/passwd"), "no record any more"),
    "another version": (lambda one: with_member(one, "cachemw", 3), "of version 3"),
    "a member of somebody's own": (lambda one: with_member(one, "note", "mine"), "not JSON as cachemw writes it"),
    "a member that stands there twice": (
        lambda one: json.dumps(one)[:-1] + ', "status": 200}',
        "not JSON as cachemw writes it",
    ),
    "a number without end": (lambda one: json.dumps(one).replace('"status": 200', f'"status": 2{"0" * 5000}'), "not JSON"),
    "a record that is too deep": (lambda one: json.dumps(one).replace("200", "[" * 100_000, 1), "not JSON"),
    "a cut": (lambda one: json.dumps(one)[:-40], "not JSON as cachemw writes it"),
    "nothing": (lambda _: "", "not JSON as cachemw writes it"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "with its checksum"])
def test_a_file_that_was_changed_is_refused_or_a_new_record(
    change: tuple[Change, str | None], by_hand: bool, files: dict[str, str]
) -> None:
    """O7: a new one has the key of its own request, whatever the file says, and is judged as a fresh answer is."""
    make, why = change
    name, document = one_of(files)
    text = make(json.loads(json.dumps(document)))
    if not by_hand:
        with contextlib.suppress(RecordError, ValueError, RecursionError):  # there may be nothing to set one under
            text = sealed_anew(text)

    found = read_in(text.encode(), digits_of(name), terms_for(whose=everybody), time.time())

    if why is None:
        assert isinstance(found, IncomingRecord), found
        own = read_in(json.dumps(document).encode(), None, terms_for(whose=everybody), time.time())
        assert isinstance(own, IncomingRecord)
        request_changed = json.loads(text)["request"] != document["request"]
        assert (found.index != own.index) is request_changed
        assert found.index.hex() not in (digits_of(name), "00" * 16)
        stored = codec.decode(found.record)
        assert xxhash.xxh3_128_digest(b"") != stored.proof  # it is one that was made now
        assert stored.proof != bytes(32)
    else:
        assert isinstance(found, str)
        assert why in found


def test_an_answer_to_a_translated_request_goes_back_under_its_seal_alone(recorded: tuple[DiskStore, dict[str, Any]]) -> None:
    """O7: its sketch is of what was made of the request, and says nothing of the one that is kept."""
    store = recorded[0]
    index, raw = next(one for one in store.scan() if codec.decode(one[1]).request is not None)
    translated = codec.encode(replace(codec.decode(raw), asked_endpoint="messages"))
    text = written((index, translated), ExportForm(secret=store.secret()))
    assert isinstance(text, WrittenRecord)

    here, elsewhere = (
        read_in(text.text.encode(), None, terms_for(secret=secret), time.time())
        for secret in (store.secret(), b"another's" * 4)
    )

    assert isinstance(here, IncomingRecord)
    assert isinstance(elsewhere, str)
    assert "another store's secret" in elsewhere


def test_without_its_sketch_a_record_is_not_taken_for_one_of_the_stores_own(
    files: dict[str, str], recorded: tuple[DiskStore, dict[str, Any]]
) -> None:
    """O7: else who knows how to set a checksum could put another request under its key."""
    name, document = one_of(files)
    text = with_member(document, "request/messages/0/content", "Why is it green?")
    bare = json.dumps({member: value for member, value in json.loads(text).items() if member != "sketch"})

    found = read_in(sealed_anew(bare).encode(), digits_of(name), terms_for(secret=recorded[0].secret()), time.time())

    assert isinstance(found, str)
    assert "no sketch" in found


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_change_by_hand_is_ever_a_hit_for_the_request_that_was_stored(
    change: tuple[Change, str | None], url: str, recorded: tuple[DiskStore, dict[str, Any]], files: dict[str, str]
) -> None:
    """O7: the store answers as before, though all that was changed is imported into it for the same caller."""
    name, document = one_of(files)
    text = change[0](json.loads(json.dumps(document)))
    before = dict(recorded[0].scan())

    came = import_all({name: text}, recorded[0], terms_for(secret=recorded[0].secret()))

    assert isinstance(came[name], str)
    assert dict(recorded[0].scan()) == before


def test_an_answer_of_one_model_is_not_imported_for_another(files: dict[str, str]) -> None:
    """O7: records name the model that a provider was asked for."""
    _, document = one_of(files)
    target = HttpTarget("https://api.cerebras.ai/v1/chat/completions", HttpRecipient("cerebras"))
    terms = terms_for(whose=everybody, by_name=lambda *_: Addressee(target))

    found = [
        read_in(with_member(dict(document), "target", name).encode(), None, terms, time.time())
        for name in ("cerebras/gpt-oss-120b", "cerebras/gpt-oss-20b")
    ]

    assert isinstance(found[0], IncomingRecord)
    assert found[1] == "its request is not for who is said to have answered"


def test_files_that_were_swapped_come_in_under_the_keys_of_their_own_requests(files: dict[str, str], tmp_path: Path) -> None:
    """O7."""
    (one, first), (two, second) = list(files.items())[-2:]
    terms = terms_for(whose=everybody)
    straight, crossed = FileStore(tmp_path / "straight"), FileStore(tmp_path / "crossed")

    import_all({one: first, two: second}, straight, terms)
    came = import_all({one: second, two: first}, crossed, terms)

    assert all(not isinstance(found, str) and found[1].is_changed for found in came.values())
    assert dict(straight.scan()) == dict(crossed.scan())


def test_a_newer_answer_stays_and_an_older_one_goes(files: dict[str, str], tmp_path: Path) -> None:
    """A1: what was asked for later is never replaced."""
    name, document = one_of(files)
    store, terms = FileStore(tmp_path / "store"), terms_for(whose=everybody)
    older = with_member(json.loads(json.dumps(document)), "body/choices/0/message/content", "Green.")
    document = json.loads(older) | {"times": None, "stored_at": "2026-01-01T00:00:00Z"}
    older = json.dumps({key: value for key, value in document.items() if value is not None})

    [first] = import_all({name: older}, store, terms).values()
    [second] = import_all({name: files[name]}, store, terms).values()
    [third] = import_all({name: older}, store, terms).values()

    assert [one if isinstance(one, str) else one[0] for one in (first, second, third)] == [
        Placement.IMPORTED,
        Placement.IMPORTED,
        Placement.NEWER,
    ]


@given(data=st.data())
def test_whatever_is_done_to_a_file_it_is_refused_or_a_record_under_the_key_of_its_own_request(
    files: dict[str, str], data: st.DataObject
) -> None:
    """O7: and nothing is raised."""
    text = files[data.draw(st.sampled_from(sorted(files)))]
    start = data.draw(st.integers(0, len(text)))
    size = data.draw(st.integers(0, 30))
    put = data.draw(st.text(max_size=9) | st.sampled_from(['"', "}", "1e999", "null", "-0.0", "\ud800", '"request": {},']))
    changed = text[:start] + put + text[start + size :]

    found = read_in(changed.encode(errors="replace"), None, terms_for(whose=everybody), time.time())

    if isinstance(found, IncomingRecord):
        again = written((found.index, found.record), ExportForm())
        assert isinstance(again, WrittenRecord)
        kept = read_in(again.text.encode(), found.index.hex(), terms_for(whose=everybody), time.time())
        assert isinstance(kept, IncomingRecord)
        assert (kept.index, kept.record, kept.is_rekeyed, kept.is_changed) == (found.index, found.record, False, False)


# Records that hold no request.


def without_request(recorded: DiskStore, secret: bytes) -> tuple[str, WrittenRecord]:
    index, record = next((index, record) for index, record in recorded.scan() if codec.decode(record).endpoint == "chat")
    text = written((index, codec.encode(replace(codec.decode(record), request=None))), ExportForm(secret=secret))
    assert isinstance(text, WrittenRecord)
    return index.hex(), text


def test_a_record_without_its_request_goes_back_verbatim_where_it_came_from_and_nowhere_else(
    recorded: tuple[DiskStore, dict[str, Any]],
) -> None:
    """O7: the seal is the store's own; it says that nobody else wrote or changed it."""
    secret = recorded[0].secret()
    digits, text = without_request(recorded[0], secret)

    home = read_in(text.text.encode(), digits, terms_for(secret=secret), time.time())
    abroad = [
        read_in(raw.encode(), digits, terms_for(secret=held), time.time())
        for held, raw in (
            (b"another's", text.text),
            (None, text.text),
            (secret, sealed_anew(json.dumps({**json.loads(text.text), "lifetime": 12345.0}))),
            (secret, sealed_anew(json.dumps({**json.loads(text.text), "key": "00" * 16}))),
            (secret, sealed_anew(json.dumps({k: v for k, v in json.loads(text.text).items() if k != "seal"}))),
        )
    ]

    assert isinstance(home, IncomingRecord)
    assert (home.index.hex(), home.record) == (digits, form.parse(text.text.encode()).record)
    assert all(isinstance(one, str) and "holds no request" in one for one in abroad), abroad


def test_a_record_without_its_request_cannot_get_a_new_key(recorded: tuple[DiskStore, dict[str, Any]]) -> None:
    secret = recorded[0].secret()
    digits, text = without_request(recorded[0], secret)

    found = read_in(text.text.encode(), digits, terms_for(secret=secret, whose=everybody), time.time())

    assert found == "it holds no request to make a new key of: import it without --partition"


# How it was asked for.


def test_what_was_asked_for_in_a_version_that_nobody_can_tell_is_refused_unless_it_is_said(files: dict[str, str]) -> None:
    """O7: a key that nobody would ever ask under is none."""
    name = next(name for name in files if name.startswith("claude"))

    found = [
        read_in(files[name].encode(), None, terms_for(whose=everybody, fields=fields), time.time())
        for fields in ((), ((b"anthropic-version", b"2026-10-21"),))
    ]

    assert found[0] == "it was asked for with an anthropic-version that only its own store could tell: say it by --header"
    assert isinstance(found[1], IncomingRecord)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("on, namespace=eval", {"namespace": "eval"}),
        ("on, sample=3", {"sample": 3}),
        ("on", {}),
    ],
)
def test_what_was_asked_for_otherwise_gets_no_key_that_it_never_had(
    asked: str, given: dict[str, Any], url: str, tmp_path: Path
) -> None:
    """O7: the sketch says that there was a namespace, or a sample, and one has to name it."""
    store = disk(tmp_path / "store")
    record_all(url, store, Policy(default=asked, keep_requests=True))
    files = files_of(store, tmp_path / "files")
    ways: list[dict[str, Any]] = [{}, {"namespace": "eval"}, {"namespace": "other"}, {"sample": 3}, {"sample": 4}]

    came = {
        str(way): import_all(files, FileStore(tmp_path / "cassette"), terms_for(whose=everybody, secret=store.secret(), **way))
        for way in ways
    }

    taken = {way for way, found in came.items() if not any(isinstance(one, str) for one in found.values())}
    assert taken == {str(given)}
    store.close()


def test_what_would_be_kept_no_longer_is_refused(files: dict[str, str]) -> None:
    name, _ = one_of(files)

    found = read_in(files[name].encode(), digits_of(name), terms_for(whose=everybody, keep="windows"), time.time() + 9e5)

    assert found == "its time is over"


def test_an_answer_larger_than_one_may_be_is_refused(files: dict[str, str]) -> None:
    name, _ = one_of(files)
    small = Policy(default="on", keep_requests=True, max_record_bytes=10)

    found = [
        read_in(files[name].encode(), digits_of(name), terms_for(policy=small, whose=whose), time.time())
        for whose in (everybody, None)
    ]

    assert found == ["its answer cannot be kept: record-too-large"] * 2


@pytest.mark.parametrize("turned", [False, True])
def test_both_kinds_of_an_answer_come_in_where_neither_can_be_had_from_the_other(turned: bool, tmp_path: Path) -> None:
    """B4: the second lies beside the first, whichever comes first."""
    store, cassette = disk(tmp_path / "store"), FileStore(tmp_path / "cassette")
    with serving_in_thread(Simulator(dialect="openai")) as url:
        ask_for_both(url, sdk.http_client(openai, store=store, policy=KEEPING))
    files = files_of(store, tmp_path / "files")

    came = import_all(dict(sorted(files.items(), reverse=turned)), cassette, terms_for(whose=everybody))

    replaying = Cassette(cassette.path, "replay")
    first, second = [one if isinstance(one, str) else one[0] for one in came.values()]
    assert first is Placement.IMPORTED
    assert second in (Placement.IMPORTED, Placement.NEWER)  # of the document, which came last, the stream can be had
    ask_for_both(url, replaying.http_client(openai))
    store.close()


def ask_for_both(url: str, http: Any) -> None:
    """Ask one question for a stream that does not say what it took, and for a document, which does."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=CREDENTIAL, http_client=http, max_retries=0)
    question: Any = {"model": "m", "messages": [{"role": "user", "content": "Both?"}]}
    assert list(client.chat.completions.create(**question, stream=True))
    assert client.chat.completions.create(**question).usage
    http.close()
