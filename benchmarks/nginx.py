"""nginx twice: as the mock upstream that costs next to nothing, and as the bare proxy everyone is compared to."""

from __future__ import annotations

from pathlib import Path

from benchmarks import payloads
from benchmarks.certificate import Certificate

_FRAME = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server_tokens off;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 4m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{body}
}}
"""

_MOCK = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096{tls};
    default_type application/json;
    location / {{ return 200 '{answer}'; }}
    location = /v1/models {{ return 200 '{models}'; }}
    location = /health {{ return 200 '{{}}'; }}
  }}"""

_PROXY = """\
  upstream mock {{
    server {upstream};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass {scheme}://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering {buffering};{tls}
    }}
  }}"""


_MOCK_TLS = """ ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key}"""

_PROXY_TLS = """
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {authority};
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
      proxy_ssl_protocols TLSv1.2 TLSv1.3;
      proxy_ssl_session_reuse on;"""


def mock(folder: Path, port: int, certificate: Certificate | None = None) -> str:
    """Configuration of the mock upstream: one fixed chat completion, whatever is asked."""
    tls = "" if certificate is None else _MOCK_TLS.format(certificate=certificate.chain, key=certificate.key)
    models = payloads.dumps({"object": "list", "data": [{"id": payloads.MODEL, "object": "model"}]})
    # Single quotes, backslashes, dollars and braces mean something to nginx: the payloads have none but braces.
    body = _MOCK.format(port=port, tls=tls, answer=_quoted(payloads.answer()), models=_quoted(models))
    return _FRAME.format(folder=folder, body=body)


def proxy(folder: Path, port: int, upstream: str, *, buffering: bool, authority: Path | None = None) -> str:
    """Configuration of the bare proxy in front of `upstream` (host:port); with an `authority` it speaks TLS."""
    scheme, tls = ("http", "") if authority is None else ("https", _PROXY_TLS.format(authority=authority))
    body = _PROXY.format(port=port, upstream=upstream, buffering="on" if buffering else "off", scheme=scheme, tls=tls)
    return _FRAME.format(folder=folder, body=body)


def write(folder: Path, text: str) -> list[str]:
    """Store a configuration in `folder`; what to append to the name of the nginx binary to run it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return ["-p", str(folder), "-c", str(path), "-e", "stderr"]


def _quoted(content: bytes) -> str:
    """Text for a single-quoted nginx string."""
    text = content.decode()
    if "'" in text or "$" in text:
        raise ValueError("nginx would take this for more than text")
    return text.replace("\\", "\\\\")
