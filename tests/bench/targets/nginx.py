"""Configurations of nginx: what an operator would write for a model server."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .upstream import REPLY


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One address, and the server behind it.

    Attributes:
        port: Where clients come.
        behind: Port of that server.
        http2: Clients speak HTTP/2, in plain text.
        authority: Certificate of who vouches for that server; None: it speaks without TLS.
    """

    port: int
    behind: int
    http2: bool = False
    authority: Path | None = None


def proxy_config(prefix: Path, fronts: Sequence[Front], *, workers: int) -> str:
    """Return a configuration with keep-alive to the servers, no buffering and no access log."""
    return _config(prefix, "".join(map(_front, fronts)), workers=workers)


def _front(front: Front) -> str:
    tls = front.authority
    trusted = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {tls};" if tls else ""
    return f"""
    upstream of{front.port} {{
        server 127.0.0.1:{front.behind};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{front.port}{" http2" if front.http2 else ""};
        client_max_body_size 0;
        location / {{
            proxy_pass http{"s" if tls else ""}://of{front.port};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            {trusted}
            proxy_ssl_name localhost;
        }}
    }}"""


def tls_upstream_config(prefix: Path, port: int, certificate: Path) -> str:
    """Return a configuration that answers every request with `REPLY`, over TLS."""
    server = f"""
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location / {{ return 200 '{REPLY}'; }}
    }}"""
    return _config(prefix, server, workers=1)


def _config(prefix: Path, servers: str, *, workers: int) -> str:
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""{user}daemon off;
worker_processes {workers};
pid {prefix}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    scgi_temp_path {prefix}/scgi;
    uwsgi_temp_path {prefix}/uwsgi;
    default_type application/json;
    keepalive_requests 1000000000;{servers}
}}
"""
