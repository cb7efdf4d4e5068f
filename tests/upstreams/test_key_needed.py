"""An upstream that takes a key, and nobody who has one (F8): it is not asked, and what is missing is said."""

import pytest

from cachemw.errors import KeyMissing
from cachemw.messages import Headers
from cachemw.upstreams import HttpUpstream, upstream_of
from cachemw.upstreams.checking import Credentials
from cachemw.upstreams.providers import KEY_VARIABLE, PROVIDERS
from tests.upstreams.raw import RawServer, ask, closing, listening, outgoing, read_out

pytestmark = pytest.mark.anyio

PLACEHOLDERS: list[Headers] = [
    (),
    ((b"Authorization", b"Bearer cachemw"),),
    ((b"authorization", b"bearer CACHEMW"),),
    ((b"x-api-key", b"cachemw"),),
]
KEYS: list[Headers] = [
    *(((b"authorization", b"Bearer " + key),) for key in (b"EMPTY", b"x", b"sk-no-key", b"cachemw2")),
    ((b"x-api-key", b"sk-alice"),),
    ((b"authorization", b"Bearer cachemw"), (b"api-key", b"sk-alice")),
]


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for provider in PROVIDERS.values():
        for variable in provider.key_variables:
            monkeypatch.delenv(variable, raising=False)


def named(name: str, server: RawServer, monkeypatch: pytest.MonkeyPatch, credentials: Credentials = "pass") -> HttpUpstream:
    """Return a provider's upstream that is this server."""
    monkeypatch.setenv(PROVIDERS[name].url_variable, server.url)
    return upstream_of(name, credentials=credentials)


@pytest.mark.parametrize("headers", PLACEHOLDERS, ids=["none", "bearer", "other letter case", "x-api-key"])
@pytest.mark.parametrize("name", PROVIDERS)
async def test_who_has_no_key_is_told_which_variable_is_missing(
    name: str, headers: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F8."""
    async with listening() as server, closing(named(name, server, monkeypatch)) as upstream:
        with pytest.raises(KeyMissing) as awaited:
            await ask(upstream, headers=headers)
        with pytest.raises(KeyMissing):
            read_out(upstream, outgoing(headers=headers))

    assert (awaited.value.variable, awaited.value.can_be_sent) == (PROVIDERS[name].key_variables[0], True)
    assert server.requests == []


@pytest.mark.parametrize("headers", KEYS)
async def test_any_other_word_is_a_key(headers: Headers, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: and is sent on."""
    async with listening() as server, closing(named("openai", server, monkeypatch)) as upstream:
        await ask(upstream, headers=headers)

    name, value = headers[-1]
    assert server.sent(name.lower()) == [value]


async def test_where_a_callers_key_is_never_sent_theirs_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: as with client keys."""
    async with listening() as server, closing(named("groq", server, monkeypatch, "lend")) as upstream:
        with pytest.raises(KeyMissing) as raised:
            await ask(upstream, headers=KEYS[0])

    assert not raised.value.can_be_sent
    assert server.requests == []


async def test_with_a_key_of_its_own_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-server")

    async with listening() as server, closing(named("openai", server, monkeypatch)) as upstream:
        await ask(upstream, headers=PLACEHOLDERS[1])

    assert server.sent(b"authorization") == [b"Bearer sk-server"]


async def test_a_url_that_is_no_providers_may_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: a server of one's own; and the placeholder does not go there."""
    async with listening() as server, closing(upstream_of(server.url, credentials="pass")) as upstream:
        await ask(upstream, headers=PLACEHOLDERS[1])

    assert server.sent(b"authorization") == []


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "https://API.openai.com:443/v1/"])
async def test_a_providers_url_needs_one_as_its_name_does(url: str) -> None:
    """F8."""
    async with closing(upstream_of(url, credentials="pass")) as upstream:
        with pytest.raises(KeyMissing) as raised:
            await ask(upstream)

    assert raised.value.variable == KEY_VARIABLE


@pytest.mark.parametrize(("method", "path", "is_open"), [("GET", b"/v1/models", True), ("POST", b"/v1/models", False)])
async def test_what_a_provider_shows_to_everybody_needs_none(
    method: str, path: bytes, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening() as server, closing(named("openrouter", server, monkeypatch)) as upstream:
        if is_open:
            await ask(upstream, path, method=method)
        else:
            with pytest.raises(KeyMissing):
                await ask(upstream, path, method=method)

    assert len(server.requests) == is_open
