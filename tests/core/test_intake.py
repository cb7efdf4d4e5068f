"""What comes in: is it a chat request, and did its client opt in?"""

import pytest

from cachemw.core.directives import Directives, InvalidControl, Mode
from cachemw.core.intake import NotAsked, NotChat, take_in
from cachemw.core.messages import Headers
from cachemw.core.policy import Policy

CHAT = "/v1/chat/completions"
ON: Headers = ((b"Accept", b"*/*"), (b"Cachemw", b"on"), (b"cachemw", b"mode=read"))
OFF: Headers = ((b"Accept", b"*/*"), (b"Cachemw", b"off"))


def test_a_chat_request_that_opted_in_says_what_it_asks_for() -> None:
    assert take_in("POST", CHAT, ON, Policy()) == Directives(mode=Mode.READ)


@pytest.mark.parametrize(("headers", "default"), [((), "off"), (OFF, "off"), (OFF, "on")])
def test_one_that_did_not_is_left_alone(headers: Headers, default: str) -> None:
    """D9, E2."""
    assert take_in("POST", CHAT, headers, Policy(default=default)) == NotAsked()


def test_one_that_cannot_be_obeyed_is_not_guessed() -> None:
    """E7."""
    asked = take_in("POST", CHAT, ((b"cachemw", b"ttl=soon"),), Policy())

    assert isinstance(asked, InvalidControl)
    assert asked.param == "ttl"


@pytest.mark.parametrize(("method", "path"), [("GET", CHAT), ("POST", "/v1/models"), ("POST", f"{CHAT}/1"), ("GET", "/")])
def test_what_is_no_chat_request_passes_and_loses_what_is_for_us(method: str, path: str) -> None:
    """H1: clients put it in their defaults."""
    assert take_in(method, path, ON, Policy()) == NotChat(Directives(mode=Mode.READ), ((b"Accept", b"*/*"),))
    assert take_in(method, path, OFF, Policy()) == NotChat(None, OFF)
    assert take_in(method, path, (), Policy(default="on")) == NotChat(Directives(), ())
