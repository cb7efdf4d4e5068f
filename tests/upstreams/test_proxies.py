"""Proxies and certificates that the environment names (F10): which requests go where, and what each end is sent."""

import base64
import ssl
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from anyio import to_thread

import cachemw.httpx
import cachemw.httpx2
from cachemw import MemoryStore
from cachemw.errors import ConfigurationError, UpstreamError
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.proxies import HttpProxy, proxy_for
from tests.upstream import prompt
from tests.upstreams.proxying import NAME, proxying
from tests.upstreams.raw import ask, closing, outgoing, read_out

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
P = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set."""
    for name in (*VARIABLES, *map(str.lower, VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tls_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other tests read no certificates."""
    real: Any = ssl.SSLContext.__mro__[1]
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", real.load_verify_locations)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """In asyncio it is aiohttp that asks, and in trio httpx."""
    return str(request.param)


# Which proxy.


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://api.example/v1", {"HTTPS_PROXY": P}, P),
        ("https://api.example/v1", {"https_proxy": P}, P),
        ("https://api.example/v1", {"https_proxy": P, "HTTPS_PROXY": "http://other.example:1"}, P),
        ("https://api.example/v1", {"https_proxy": "", "HTTPS_PROXY": P}, None),
        ("https://api.example/v1", {"HTTPS_PROXY": " "}, None),
        ("https://api.example/v1", {"HTTP_PROXY": P, "ALL_PROXY": P, "all_proxy": P}, None),
        ("http://api.example/v1", {"HTTP_PROXY": P}, P),
        ("http://api.example/v1", {"HTTPS_PROXY": P}, None),
        ("http://api.example/v1", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None),
        ("http://api.example/v1", {"http_proxy": P, "REQUEST_METHOD": "GET"}, P),
        ("https://api.example/v1", {"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P),
        ("https://api.example/v1", {"HTTPS_PROXY": "proxy.example:3128"}, P),
        ("https://api.example/v1", {"HTTPS_PROXY": "proxy.example"}, "http://proxy.example:80"),
        ("https://api.example/v1", {"HTTPS_PROXY": "https://proxy.example"}, "https://proxy.example:443"),
        ("https://api.example/v1", {"HTTPS_PROXY": "HTTP://Proxy.example:3128/"}, P),
        ("https://api.example/v1", {"HTTPS_PROXY": "http://[fe80::1]:3128"}, "http://[fe80::1]:3128"),
        ("https://api.example/v1", {"HTTPS_PROXY": "http://127.0.0.1:3128"}, "http://127.0.0.1:3128"),
        *(
            (f"http://{host}/v1", {"HTTP_PROXY": P}, None)
            for host in ("localhost", "127.0.0.1:80", "127.9.9.9", "[::1]:8000", "0.0.0.0:1")
        ),
        *((f"https://{host}/v1", {"HTTPS_PROXY": P}, None) for host in ("a.localhost", "localhost.", "LOCALHOST:8443")),
    ],
)
def test_the_scheme_says_which_variable_counts(url: str, environment: dict[str, str], proxy: str | None) -> None:
    """F10, D3: what is on this machine is asked without one, always."""
    found = proxy_for(url, environment)

    assert (found and found.url) == proxy


@pytest.mark.parametrize(
    ("host", "excepted", "is_excepted"),
    [
        ("api.example", "*", True),
        ("api.example", "api.example", True),
        ("api.example", "API.Example", True),
        ("api.example", "example", True),
        ("api.example", ".example", True),
        ("api.example", "*.example", True),
        ("example", ".example", True),
        ("api.example", "other.example, api.example", True),
        ("api.example", "other.example api.example", True),
        ("api.example", "pi.example", False),
        ("api.example", "api.example.org", False),
        ("api.example", "", False),
        ("api.example", ",", False),
        ("api.example", ".", False),
        ("api.example", "api.example:443", True),
        ("api.example", "api.example:8443", False),
        ("api.example:8443", "api.example:8443", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "10.1.2.3:80", False),
        ("10.1.2.3", "11.0.0.0/8", False),
        ("10.1.2.3", "2.3", False),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:8443", "[fd00::1]:8443", True),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "fe00::/8", False),
        ("api.example", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(host: str, excepted: str, is_excepted: bool) -> None:
    """F10."""
    for name in ("NO_PROXY", "no_proxy"):
        found = proxy_for(f"https://{host}/v1", {"HTTPS_PROXY": P, name: excepted})

        assert (found is None) == is_excepted


NO_PROXIES = [
    *("ftp://proxy.example", "http://", "http://proxy.example:99999", "http://proxy.example:0", "http://proxy.example/path"),
    *(
        "http://proxy.example?a=b",
        "http://proxy.example#a",
        "http://pro xy.example",
        "http://pr\xf6xy.example",
        "://",
        "http://:80",
    ),
    *("http://proxy.example:port", "http://proxy\n.example", "http://[::1", "socks5://proxy.example:1080", "socks5h://p:1"),
]


@pytest.mark.parametrize("value", NO_PROXIES)
def test_what_is_no_url_of_an_http_proxy_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F10: what it says may be a password."""
    said = value.replace("://", "://user:hunter2@", 1)
    monkeypatch.setenv("HTTPS_PROXY", said)

    for make in (
        lambda: HttpUpstream("https://api.example/v1"),
        cachemw.httpx.CacheTransport,
        cachemw.httpx2.AsyncCacheTransport,
    ):
        with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY ") as refused:
            make()
        assert "hunter2" not in str(refused.value)
    assert HttpUpstream("http://127.0.0.1:9/v1").proxy is None
    assert HttpUpstream("http://api.example/v1").proxy is None


def test_an_upstream_with_transports_of_its_own_is_asked_over_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "no proxy")
    inner = httpx.MockTransport(lambda _: httpx.Response(200))

    HttpUpstream("https://api.example/v1", transport=lambda: inner, sync_transport=lambda: inner)
    cachemw.httpx.CacheTransport(inner, store=MemoryStore())


@pytest.mark.parametrize(
    ("said", "sent"),
    [("user:pass", "user:pass"), ("user", "user:"), ("us%40er:p%3Ass%2F", "us@er:p:ss/"), (":only", ":only")],
)
def test_what_stands_before_the_host_is_what_the_proxy_is_sent(said: str, sent: str) -> None:
    proxy = proxy_for("https://api.example/v1", {"HTTPS_PROXY": f"http://{said}@proxy.example:3128"})

    assert proxy == HttpProxy(P, "HTTPS_PROXY", "Basic " + base64.b64encode(sent.encode()).decode())
    assert sent not in repr(proxy)
    assert "Basic" not in repr(proxy)


# Through it.


@pytest.mark.anyio
@pytest.mark.parametrize("is_awaited", [True, False])
async def test_a_plain_url_is_asked_of_the_proxy_byte_by_byte(is_awaited: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """F10, F11: RFC 9112 §3.2.2: in the absolute form, and the proxy's password is for the proxy alone."""
    async with proxying() as (proxy, server):
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://user:pass@"))
        async with closing(HttpUpstream(f"http://{NAME}:8000/v1", api_key="sk-server")) as upstream:
            await _asked(upstream, is_awaited, b"/v1/a%2Fb%3Ac;d", b"z=%2F&h=%7E")

    assert proxy.asked() == [b"POST http://upstream.example:8000/v1/a%2Fb%3Ac;d?z=%2F&h=%7E HTTP/1.1"]
    assert proxy.sent(b"host") == [b"upstream.example:8000"]
    assert proxy.sent(b"proxy-authorization") == [b"Basic " + base64.b64encode(b"user:pass")]
    assert server.sent(b"authorization") == [b"Bearer sk-server"]


@pytest.mark.anyio
@pytest.mark.parametrize("is_awaited", [True, False])
async def test_over_tls_the_proxy_is_asked_for_a_tunnel_and_sees_no_key(
    is_awaited: bool, tls_is_checked: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """F10: and the upstream's certificate is checked by `SSL_CERT_FILE`."""
    async with proxying(tmp_path) as (proxy, server):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:pass@"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        async with closing(HttpUpstream(f"https://{NAME}/v1", api_key="sk-server")) as upstream:
            await _asked(upstream, is_awaited, b"/v1/a%2Fb%3Ac", b"h=%7E")

    assert proxy.asked() == [b"CONNECT upstream.example:443 HTTP/1.1"]
    assert proxy.sent(b"proxy-authorization") == [b"Basic " + base64.b64encode(b"user:pass")]
    assert b"sk-server" not in b"".join(proxy.heads)
    assert server.request_line() == b"POST /v1/a%2Fb%3Ac?h=%7E HTTP/1.1"
    assert server.sent(b"authorization") == [b"Bearer sk-server"]
    assert server.sent(b"proxy-authorization") == []


@pytest.mark.anyio
@pytest.mark.parametrize("is_awaited", [True, False])
async def test_a_certificate_that_is_not_in_the_file_is_none(
    is_awaited: bool, tls_is_checked: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """F10: where nothing is in it, nobody is trusted."""
    async with proxying(tmp_path) as (proxy, server):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
        async with closing(HttpUpstream(f"https://{NAME}/v1", api_key="sk-server")) as upstream:
            with pytest.raises(UpstreamError):
                await _asked(upstream, is_awaited, b"/v1/a", b"")

    assert len(proxy.heads) == 1
    assert server.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("is_awaited", [True, False])
async def test_a_proxy_that_refuses_is_an_upstream_that_cannot_be_reached(
    is_awaited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxying(refuses=True) as (proxy, server):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with closing(HttpUpstream(f"https://{NAME}/v1")) as upstream:
            with pytest.raises(UpstreamError):
                await _asked(upstream, is_awaited, b"/v1/a", b"")

    assert (len(proxy.heads), server.requests) == (1, [])


async def _asked(upstream: HttpUpstream, is_awaited: bool, path: bytes, query: bytes) -> None:
    if is_awaited:
        await ask(upstream, path, query)
    else:
        await to_thread.run_sync(read_out, upstream, outgoing(path, query))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"no certificate", "there is no certificate"),
        (b"", "no certificate"),
    ],
)
def test_a_file_of_certificates_that_is_none_is_refused(
    said: bytes | None, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """F10: at the start, and not at each request."""
    path = tmp_path / "certificates.pem"
    if said is not None:
        path.write_bytes(said)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    with pytest.raises(ConfigurationError, match=f"^SSL_CERT_FILE names '{path}'.*{why}"):
        HttpUpstream("https://api.example/v1")
    HttpUpstream("http://api.example/v1")


# In a client.


FAMILIES: list[Any] = [pytest.param(httpx, cachemw.httpx, id="httpx"), pytest.param(httpx2, cachemw.httpx2, id="httpx2")]


@pytest.mark.anyio
@pytest.mark.parametrize(("family", "mount"), FAMILIES)
async def test_a_transport_without_an_inner_one_goes_the_way_its_client_would_have(
    family: Any, mount: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F10: httpx leaves that to a transport that it is given."""
    async with proxying() as (proxy, _):
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://user:pass@"))
        url, fields = f"http://{NAME}/v1/chat/completions", {"content-type": "application/json"}
        async with family.AsyncClient(transport=mount.AsyncCacheTransport(store=MemoryStore())) as client:
            first = await client.post(url, content=prompt("awaited"), headers=fields)

        def ask_here() -> int:
            with family.Client(transport=mount.CacheTransport(store=MemoryStore())) as client:
                return int(client.post(url, content=prompt("in a thread"), headers=fields).status_code)

        status = await to_thread.run_sync(ask_here)

    assert (first.status_code, status) == (200, 200)
    assert proxy.asked() == [b"POST http://upstream.example/v1/chat/completions HTTP/1.1"] * 2
    assert proxy.sent(b"proxy-authorization") == [b"Basic " + base64.b64encode(b"user:pass")]
