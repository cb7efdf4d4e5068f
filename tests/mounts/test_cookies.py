"""Which cookies of a request through a transport say who asks."""

import pytest
from msgspec.structs import replace

from cachemw._transport_request import Cookies
from cachemw.messages import Head, Headers, Unread
from tests.cache.answers import request


def answered(*set_cookies: bytes) -> Head:
    return Head(200, tuple((b"Set-Cookie", value) for value in set_cookies))


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        (b"session=1", None),
        (b"__cf_bm=x", None),
        (b"__cf_bm=x; session=1;_cfuvid=a=b; AWSALB=; cf_clearance=y", None),
        (b"who=alice", b"who=alice"),
        (b"session=2", b"session=2"),
        (b"a=1; __cf_bm=x; b=2; session=1; session=2", b"a=1; b=2; session=2"),
        (b"a=1;session=1;b=session=1", b"a=1; b=session=1"),
        (b"__cf_bmx=1; awsalb=1; x=__cf_bm", b"__cf_bmx=1; awsalb=1; x=__cf_bm"),
    ],
)
@pytest.mark.parametrize("name", [b"cookie", b"Cookie", b"COOKIE"])
def test_cookies_that_say_nothing_of_who_asks_are_taken_out(name: bytes, sent: bytes, left: bytes | None) -> None:
    """K1: those that were given, and those of an upstream's edge; all others stay, and so does every other field."""
    others: Headers = ((b"x-cookie", b"session=1"), (b"set-cookie", b"__cf_bm=x"))

    cookies = Cookies()
    cookies.note(request(), answered(b"session=1; Path=/; HttpOnly", b"other=3"))

    kept = cookies.left_out((others[0], (name, sent), others[1]))

    assert kept == (others[0], *(() if left is None else ((name, left),)), others[1])


def test_what_came_with_no_chat_answer_may_say_who_asks() -> None:
    """I1: whoever logs in does so elsewhere."""
    cookies, sent = Cookies(), ((b"cookie", b"session=1"),)
    cookies.note(replace(request(), body=Unread.LEFT_ALONE), answered(b"session=1"))

    assert cookies.left_out(sent) == sent


def test_the_oldest_are_forgotten() -> None:
    """P3."""
    cookies = Cookies()
    for number in range(Cookies.LIMIT + 1):
        cookies.note(request(), answered(b"a=%d" % number))

    assert cookies.left_out(((b"cookie", b"a=0; a=1; a=%d" % Cookies.LIMIT),)) == ((b"cookie", b"a=0"),)
