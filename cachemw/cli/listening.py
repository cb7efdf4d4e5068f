"""The sockets that commands listen on, and how clients find them."""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from cachemw.errors import CommandError

BACKLOG = 2048

OWNERS_SOCKET, EVERYBODYS_SOCKET = 0o600, 0o666
"""The modes of a Unix socket that only this user's programs may connect to, and of one that all may."""

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to recognise them
"""The addresses that stand for all of a machine's."""

_OUTSIDE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses that nobody has (RFC 5737, RFC 3849): to ask which of our own would be used for them sends nothing."""


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach this host; of names we know but one."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any that is free. Raises `CommandError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: else asyncio leaves Nagle's algorithm on, and a hit takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise CommandError(f"cannot listen on port {port}: {exc.strerror}{_advice(exc, host, port)}") from exc
    return listener


def _advice(exc: OSError, host: str, port: int) -> str:
    match exc.errno:
        case errno.EADDRINUSE:
            holder = holder_of(port)
            has_it = f" by {holder}" if holder else ""
            return f"{has_it}; choose another one with --port, or --port 0 for any that is free"
        case errno.EACCES:
            return "; ports below 1024 are the system's: choose another one with --port"
        case errno.EADDRNOTAVAIL:
            return f"; this machine has no address {host}: choose another one with --host"
    return f" (--host {host})" if isinstance(exc, socket.gaierror) else ""


def holder_of(port: int) -> str | None:
    """Return which program listens on a port, as far as this user may know it; `None` where nobody says."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):  # it is another user's, or is gone
            if any(os.readlink(descriptor) in sockets for descriptor in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    """Yield the sockets that listen on a port, as Linux lists them (proc(5))."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


@contextlib.contextmanager
def listening_at(path: str, mode: int) -> Iterator[socket.socket]:
    """Listen on a Unix socket with this mode, and remove it in the end. One that nobody listens on any more is replaced.

    Raises `CommandError`.
    """
    place = os.path.abspath(os.path.expanduser(path))
    _remove_stale(place)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            before = os.umask(0o777)  # nobody comes in before it has its mode
            try:
                listener.bind(place)
            finally:
                os.umask(before)
            os.chmod(place, mode)
            made = os.lstat(place)
            listener.listen(BACKLOG)
        except OSError as exc:
            raise CommandError(f"cannot listen on {place}: {exc.strerror or exc} (--uds)") from exc
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.lstat(place), made):  # another one may have taken its place
                    os.unlink(place)


def _remove_stale(place: str) -> None:
    try:
        found = os.lstat(place)
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise CommandError(f"cannot listen on {place}: it is there, and is no socket (--uds)")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(place)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(place)
            return
        except OSError as exc:
            raise CommandError(f"cannot listen on {place}: it is there, and {exc.strerror or exc} (--uds)") from exc
    raise CommandError(f"cannot listen on {place}: another program does (--uds)")


def url_of(listener: socket.socket) -> str:
    """Return the URL by which this machine reaches a listening socket, with the port that it really has."""
    host, port = listener.getsockname()[:2]
    if host in EVERYWHERE:
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return url(host, port)


def url(host: str, port: int) -> str:
    """Return the URL of a server at a host."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def own_names(everywhere: str) -> list[str]:
    """Return the name and the addresses by which other machines probably reach this one, where it listens `everywhere`.

    Who listens at `0.0.0.0` is not reached by IPv6, and who listens at `::` by both.
    """
    families = [outside for outside in _OUTSIDE if ":" in everywhere or outside[0] is socket.AF_INET]
    addresses = [address for outside in families if (address := _own_address(*outside)) is not None]
    name = socket.gethostname().lower()
    return [name, *addresses] if name and not is_loopback(name) else addresses


def _own_address(family: socket.AddressFamily, outside: str) -> str | None:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((outside, 9))
        return str(asking.getsockname()[0])
    return None
