"""nginx, as a cache of what is asked with a body: `proxy_cache`, keyed on `$request_body`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environments import Unavailable
from benchmarks.servers import Server, free_port, listening

MARK = b"X-Cache: HIT"
SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin"
"""Not every user looks for programs there, but there is where it is installed."""

CONFIGURATION = """
daemon off;
master_process off;
pid {place}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_body_buffer_size 1m;
    client_body_in_single_buffer on;
    client_body_temp_path {place}/bodies;
    proxy_temp_path {place}/answers;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    proxy_cache_path {place}/cache keys_zone=answers:16m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_cache answers;
            proxy_cache_methods POST;
            proxy_cache_key $request_body;
            proxy_buffer_size 64k;
            proxy_buffers 8 64k;
            proxy_cache_valid 200 1d;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"""


@contextmanager
def nginx(upstream: Server, place: Path, core: int | None) -> Iterator[Server]:
    """Run it in front of an upstream. Raises `Unavailable` where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PROGRAMS}")
    if program is None:
        raise Unavailable("it is not installed")
    port = free_port()
    place.mkdir()
    file = place / "nginx.conf"
    file.write_text(CONFIGURATION.format(place=place, port=port, upstream=upstream.url))
    with listening([program, "-c", str(file), "-p", str(place), "-e", "stderr"], port, core, MARK) as server:
        yield server
