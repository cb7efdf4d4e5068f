"""The bounds of work, each once and with little to read; `test_bombs.py` has documents as large as they can be."""

import json
from collections.abc import Callable

import pytest

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall, Bypass
from cachemw.endpoints.chat.request import read_chat
from cachemw.endpoints.chat.transcode import derive
from cachemw.endpoints.chat.transcode.aggregate import MEMBERS_LIMIT
from cachemw.limits import Limits, Work
from cachemw.messages import StoredResponse
from cachemw.proxy.lending import judge
from cachemw.wire.sse import DONE, encode
from tests.cache.answers import COMPLETION, STREAM, chat, record_of, recording, terms
from tests.cache.keying import asking
from tests.endpoints.judging import json_fault, stream_fault
from tests.endpoints.transcoding import JSON, chunk, piece, record
from tests.endpoints.transcoding import STREAM as AS_STREAM
from tests.upstream import JSON as JSON_HEAD
from tests.upstream import prompt

STATELESS = b'{"model":"m","input":"hi","store":false}'


def asked(work: Work) -> ApiCall | Bypass:
    return read_chat(CHAT, asking(prompt()), work=work)


def judged(work: Work) -> str | None:
    return json_fault(COMPLETION, chat(), FINISH_REASONS, work)


def judged_as_stream(work: Work) -> str | None:
    return stream_fault(STREAM, chat(stream=True), FINISH_REASONS, work)


def recorded(work: Work) -> StoredResponse | str:
    return record_of([STREAM], terms(stream=True, limits=Limits(work=work)))


def derived(work: Work) -> StoredResponse | str:
    return derive(record(COMPLETION, JSON, b"application/json"), AS_STREAM, work)


@pytest.mark.parametrize(
    ("read", "little", "refusal"),
    [
        (asked, Work(document=100), Bypass("too-complex")),
        (judged, Work(document=0), "too-complex"),
        (judged, Work(objects=1), "too-complex"),
        (judged_as_stream, Work(document=0), "too-complex"),
        (judged_as_stream, Work(objects=1), "too-complex"),
        (recorded, Work(document=0), "too-complex"),
        (recorded, Work(objects=1), "too-complex"),
        (recorded, Work(lines=3), "too-complex"),
        (recorded, Work(lines_at_once=3), "too-complex"),
        (derived, Work(answer=100), "other-kind"),
        (derived, Work(pieces=2), "other-kind"),
    ],
)
def test_what_is_more_work_than_that_is_not_read(read: Callable[[Work], object], little: Work, refusal: object) -> None:
    """S13, F60, F62: and by default it is."""
    assert read(little) == refusal
    assert read(Work()) != refusal


def test_a_body_that_is_more_work_than_that_opens_no_lent_key() -> None:
    """S13: and by default it does."""
    assert judge(b"/v1/responses", JSON_HEAD, STATELESS) is None
    assert judge(b"/v1/responses", JSON_HEAD, STATELESS, limit=100) is not None


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_are_counted_over_all_chunks(end: bytes) -> None:
    """F60, S13"""
    under_way = recording(terms(stream=True, limits=Limits(work=Work(lines=3, lines_at_once=2))))
    dropped = []

    for _ in range(2):
        under_way.feed(b":" + end + b":" + end, 0.0)
        dropped.append(under_way.dropped)

    assert dropped == [None, "too-complex"]


@pytest.mark.parametrize(("names", "is_one"), [(MEMBERS_LIMIT, True), (MEMBERS_LIMIT + 2, False)])
def test_an_object_that_grows_and_grows_is_not_put_together(names: int, is_one: bool) -> None:
    """F61"""
    said = [chunk(x={f"a{at}": 1}) for at in range(names)]
    stream = [chunk(piece(content="a")), *said, chunk(piece(finish="stop"), usage={"a": 1})]
    body = b"".join(encode(json.dumps(one).encode()) for one in stream) + encode(DONE)

    assert isinstance(derive(record(body, AS_STREAM), JSON), StoredResponse) is is_one
