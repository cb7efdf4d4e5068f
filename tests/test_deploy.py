"""The files in `docs/deploy/` are such that what reads them takes them, and do what the page says."""

import getpass
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from cachemw.proxy.settings import SETTINGS
from tests.cli.command import Command, at_home
from tests.pages import DOCS
from tests.serving import serving_in_thread
from tests.upstream import prompt, stream_events

DEPLOY = DOCS / "deploy"
PATIENCE = 20.0
NAME = "cache.example"
NGINX = """\
user {user};
daemon off;
pid {place}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    include {place}/cachemw.conf;
}}
"""

with_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx command")


class HeldStream:
    """An upstream whose streams stop behind their first event until they are told to go on."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        first, *others = stream_events()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        await anyio.to_thread.run_sync(self.goes_on.wait, PATIENCE)
        await send({"type": "http.response.body", "body": b"".join(others)})


def configuration(place: Path, port: int, upstream: str) -> Path:
    """Write the configuration of the page for a certificate and ports of our own; return the file."""
    certificate, key = place / "one.pem", place / "one.key"
    asked = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={NAME} -keyout {key} -out {certificate}"
    try:
        subprocess.run(asked.split(), check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl command")
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/certs/cache.example.pem": str(certificate),
        "/etc/ssl/private/cache.example.key": str(key),
        "127.0.0.1:8080": upstream,
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (place / "cachemw.conf").write_text(text)
    (place / "nginx.conf").write_text(NGINX.format(place=place, user=getpass.getuser()))
    return place / "nginx.conf"


@with_nginx
def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    done = subprocess.run(
        ["nginx", "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(configuration(tmp_path, 8443, "127.0.0.1:8080"))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert done.returncode == 0, done.stderr
    assert "successful" in done.stderr


@pytest.fixture
def through_nginx(tmp_path: Path) -> Iterator[tuple[HeldStream, str]]:
    """An upstream, `cachemw serve` before it, and nginx before that: gives the URL of the latter."""
    upstream, command = HeldStream(), Command({**at_home(tmp_path).environment})
    options = "--port", 0, "--allow-host", NAME, "--dir", tmp_path / "store"
    with serving_in_thread(upstream) as url, command.serving("serve", *options, "--upstream", f"{url}/v1") as served:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        file = configuration(tmp_path, port, served.url.removeprefix("http://"))
        nginx = subprocess.Popen(["nginx", "-e", "stderr", "-p", str(tmp_path), "-c", str(file)])
        try:
            wait_for(port)
            yield upstream, f"https://127.0.0.1:{port}/v1/chat/completions"
        finally:
            upstream.goes_on.set()
            nginx.terminate()
            nginx.wait(PATIENCE)


def wait_for(port: int) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except OSError:
            assert time.monotonic() < ends
            time.sleep(0.02)


@with_nginx
def test_nginx_passes_on_the_first_event_at_once_and_hits_too(through_nginx: tuple[HeldStream, str]) -> None:
    """The first event comes while the upstream holds the second one back; so it lies in no buffer."""
    upstream, url = through_nginx
    fields = {"Host": NAME, "Cachemw": "on", "Content-Type": "application/json"}
    sent = {"content": prompt(stream=True), "headers": fields}
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(verify=trusting, trust_env=False, timeout=PATIENCE) as client:
        with client.stream("POST", url, **sent) as response:  # type: ignore[arg-type]
            came = response.iter_raw()
            first = next(came)
            upstream.goes_on.set()
            whole = first + b"".join(came)
        again = client.post(url, **sent)  # type: ignore[arg-type]

    events = stream_events()
    assert (first, whole) == (events[0], b"".join(events))
    assert "cachemw; hit" in again.headers["cache-status"]
    assert again.content == whole


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze command")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "cachemw.service"
    text = (DEPLOY / "cachemw.service").read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=PATIENCE
    )

    ours = [line for line in done.stderr.splitlines() if "cachemw" in line]
    assert (done.returncode, ours) == (0, [])


def test_the_image_is_made_of_files_that_there_are() -> None:
    file = (DEPLOY / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (?!--)(.+) \S+$", file, re.MULTILINE) for name in line.split()]
    command = json.loads(re.findall(r"^ENTRYPOINT (.+)$", file, re.MULTILINE)[0])

    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert all((DOCS.parent / name).exists() and f"!{name}" in let_in for name in copied)
    assert command == ["/opt/cachemw/bin/cachemw"]


def test_every_variable_of_ours_is_a_setting() -> None:
    """D3: one that is none would be refused at the start."""
    text = "".join(path.read_text() for path in DEPLOY.iterdir() if path.is_file())
    named = set(re.findall(r"\bCACHEMW_[A-Z_]+", text))

    assert named - {setting.variable for setting in SETTINGS.values()} == set()
