"""A real HTTP proxy on this machine, and upstreams behind it that have another's name."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from tests.upstreams.raw import RawServer, answer

NAME = "upstream.example"
"""The upstream's name; nobody but the proxy knows where it is."""

REFUSES = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBqjCCAVCgAwIBAgIUIqvievTMUVnF7bx297kBVxIHa9kwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQdXBzdHJlYW0uZXhhbXBsZTAgFw0yNjExMjkyMzE4NDRaGA8y
MTI2MTEwNTIzMTg0NFowGzEZMBcGA1UEAwwQdXBzdHJlYW0uZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABNq808UP50wgFcqTIKM/DyKacWNJ22GtoC1D
ddaBqAsM11fnpl8nSTxqlASoH1REs2O6fTnZpP/3Ga1EDP1m2kajcDBuMB0GA1Ud
DgQWBBT2398y4Xm27fexBk57XyjZnuilNzAfBgNVHSMEGDAWgBT2398y4Xm27fex
Bk57XyjZnuilNzAbBgNVHREEFDASghB1cHN0cmVhbS5leGFtcGxlMA8GA1UdEwEB
/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgBA3DXs4gq9wk2+7GqUdlHqLNrhTn
ZmIkCvcG0NHDvu0CIQDbxn4+qmSwRKNvdqeCj7lb3L6msx4t5FtCIQU/z2byjA==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgqppdJKL9pyNyzZBh
wzUHKOHbjYq/NEAQ8X5Lol1mWIuhRANCAATavNPFD+dMIBXKkyCjPw8imnFjSdth
raAtQ3XWgagLDNdX56ZfJ0k8apQEqB9URLNjun052aT/9xmtRAz9ZtpG
-----END PRIVATE KEY-----
"""


@dataclass(slots=True)
class LocalProxy:
    """Forwards requests, and tunnels, to ports of this machine; keeps the heads that it was sent."""

    port: int
    to: int
    refuses: bool = False
    heads: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sent(self, lower_name: bytes) -> list[bytes]:
        """Return the values of a field of the last head."""
        lines = (line.partition(b":") for line in self.heads[-1].split(b"\r\n")[1:])
        return [value.strip() for name, _, value in lines if name.lower() == lower_name]

    def asked(self) -> list[bytes]:
        """Return the first line of each head."""
        return [head.partition(b"\r\n")[0] for head in self.heads]

    async def talk(self, stream: ByteStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with stream:
                head, rest = await _head(stream)
                self.heads.append(head)
                if self.refuses:
                    await stream.send(REFUSES)
                    return
                async with await anyio.connect_tcp("127.0.0.1", self.to) as there:
                    if head.startswith(b"CONNECT "):
                        await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    else:
                        await there.send(_in_origin_form(head) + rest)
                    await _join(stream, there)


async def _head(stream: ByteStream) -> tuple[bytes, bytes]:
    read = b""
    while b"\r\n\r\n" not in read:
        read += await stream.receive()
    head, end, rest = read.partition(b"\r\n\r\n")
    return head + end, rest


def _in_origin_form(head: bytes) -> bytes:
    """Return the head as it goes on, without what is the proxy's alone."""
    line, *fields = head.split(b"\r\n")
    method, target, version = line.split(b" ")
    path = b"/" + target.split(b"/", 3)[3]
    kept = [name for name in fields if not name.lower().startswith(b"proxy-")]
    return b"\r\n".join([b" ".join([method, path, version]), *kept])


async def _join(one: ByteStream, other: ByteStream) -> None:
    async with anyio.create_task_group() as tasks:

        async def pump(source: ByteStream, sink: ByteStream) -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                async for chunk in source:
                    await sink.send(chunk)
            tasks.cancel_scope.cancel()

        tasks.start_soon(pump, one, other)
        tasks.start_soon(pump, other, one)


@contextlib.asynccontextmanager
async def proxying(directory: Path | None = None, *, refuses: bool = False) -> AsyncIterator[tuple[LocalProxy, RawServer]]:
    """Serve a proxy, and behind it the upstream; with a `directory`, into which its certificate is written, it speaks TLS."""
    server = RawServer((answer(),))
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as behind,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as before,
        anyio.create_task_group() as tasks,
    ):
        proxy = LocalProxy(before.extra(SocketAttribute.local_port), behind.extra(SocketAttribute.local_port), refuses)
        listener = TLSListener(behind, _context(directory), standard_compatible=False) if directory else behind
        tasks.start_soon(listener.serve, server.talk)
        tasks.start_soon(before.serve, proxy.talk)
        yield proxy, server
        tasks.cancel_scope.cancel()


def _context(directory: Path) -> ssl.SSLContext:
    (directory / "certificate.pem").write_text(CERTIFICATE)
    (directory / "key.pem").write_text(KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context
