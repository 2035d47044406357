"""The gateways that are compared: how each is installed, configured and started in front of one mock upstream.

gatewayd runs as it would in earnest: authentication, two deployments to choose from, a fallback, metrics, access log.
nginx runs as the bare limit: no access log, no checks. The others run as they come, with what it takes to run here; the
two routers written in Rust once more with a cheaper policy and without request log (`tuned`).
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from benchmarks import install, payloads
from benchmarks.process import free_port

KEY = "sk-benchmark-4f1c2a9e7d"
Wire = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class Upstream:
    """What stands behind a gateway."""

    port: int
    wire: Wire = "openai"
    streaming: bool = False
    authority: Path | None = None
    """Certificate of the authority that signed the upstream's, which is for the name `localhost`; None: no TLS."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}" if self.authority is None else f"https://localhost:{self.port}"


class Peer(ABC):
    """One gateway in front of one upstream; made anew for each."""

    name: ClassVar[str]
    wires: ClassVar[frozenset[Wire]] = frozenset({"openai"})
    """What upstreams it can speak to, when the client speaks OpenAI's wire."""
    tls: ClassVar[bool] = False
    """Can be measured in front of an upstream with TLS."""
    slow: ClassVar[bool] = False
    """Answers well below a thousand requests a second: loaded by our own client, which ends what it began."""
    start_timeout: ClassVar[float] = 30.0

    def __init__(self, upstream: Upstream, port: int, folder: Path) -> None:
        self.upstream = upstream
        self.port = port
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True)

    @classmethod
    @abstractmethod
    def install(cls) -> str:
        """Make sure that it is there; returns its version.

        Raises:
            benchmarks.process.Failed: it cannot be had on this machine.
        """

    @abstractmethod
    def command(self) -> list[str]:
        """Writes its configuration, if it needs one."""

    def environment(self) -> Mapping[str, str]:
        return {}

    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {KEY}"}


class Gatewayd(Peer):
    name = "gatewayd"
    wires = frozenset({"openai", "anthropic"})
    tls = True

    @classmethod
    def install(cls) -> str:
        return install.gatewayd_version()

    def command(self) -> list[str]:
        path = self.folder / "gatewayd.yaml"
        server = f"gatewayd: {{listen: '127.0.0.1:{self.port}', admin: '127.0.0.1:{free_port()}', drain: 1}}\n"
        path.touch(mode=0o600)
        path.write_text(model_list(self.upstream) + server, encoding="utf-8")
        return self.run(path)

    def environment(self) -> Mapping[str, str]:
        authority = self.upstream.authority
        return {} if authority is None else {"SSL_CERT_FILE": str(authority)}

    @staticmethod
    def run(path: Path) -> list[str]:
        """The command that serves a configuration file."""
        return [sys.executable, "-P", "-m", "gatewayd", "run", "--config", str(path)]


def baseline(checkout: Path) -> type[Peer]:
    """gatewayd as another checkout has it, to be compared with this one in the same run."""

    class Baseline(Gatewayd):
        name = "gatewayd, baseline"

        @classmethod
        def install(cls) -> str:
            return install.gatewayd_version(checkout)

        def environment(self) -> Mapping[str, str]:
            return {**super().environment(), "PYTHONPATH": str(checkout)}

    return Baseline


class LiteLLM(Peer):
    name = "LiteLLM proxy"
    wires = frozenset({"openai", "anthropic"})
    slow = True
    start_timeout = 120.0

    @classmethod
    def install(cls) -> str:
        install.beside_python("litellm")
        return version("litellm")

    def command(self) -> list[str]:
        path = self.folder / "litellm.yaml"
        path.write_text(model_list(self.upstream), encoding="utf-8")
        # Imported at start for audio; without the system's libsndfile that ends the proxy. Nothing here needs it.
        (self.folder / "soundfile.py").touch()
        flags = ["--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1", "--telemetry", "False"]
        return [str(install.beside_python("litellm")), "--config", str(path), *flags]

    def environment(self) -> Mapping[str, str]:
        quiet = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        return {**quiet, "PYTHONPATH": str(self.folder)}


class Smg(Peer):
    name = "smg"
    flags: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def install(cls) -> str:
        install.python_peer("smg")
        return install.python_peer_version("smg")

    def command(self) -> list[str]:
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--prometheus-port", str(free_port())]
        path = str(install.python_peer("smg"))
        return [path, "launch", *listen, "--worker-urls", self.upstream.url, *self.flags]


class SmgTuned(Smg):
    name = "smg, tuned"
    flags = ("--policy", "round_robin", "--log-level", "error", "--disable-health-check", "--disable-load-monitoring")


class VllmRouter(Peer):
    name = "vllm-router"
    flags: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def install(cls) -> str:
        install.python_peer("vllm-router")
        return install.python_peer_version("vllm-router")

    def command(self) -> list[str]:
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--prometheus-port", str(free_port())]
        path = str(install.python_peer("vllm-router"))
        return [path, *listen, "--worker-urls", self.upstream.url, *self.flags]


class VllmRouterTuned(VllmRouter):
    name = "vllm-router, tuned"
    flags = ("--policy", "round_robin", "--log-level", "error")


class Portkey(Peer):
    name = "Portkey gateway"
    wires = frozenset({"openai", "anthropic"})
    slow = True
    _package = "@portkey-ai/gateway"

    @classmethod
    def install(cls) -> str:
        install.system("node")
        install.node_peer(cls._package)
        return install.node_peer_version(cls._package)

    def command(self) -> list[str]:
        script = install.node_peer(self._package) / "build/start-server.js"
        return [str(install.system("node")), str(script), f"--port={self.port}", "--headless"]

    def environment(self) -> Mapping[str, str]:
        return {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}

    def headers(self) -> Mapping[str, str]:
        route = {"x-portkey-provider": self.upstream.wire, "x-portkey-custom-host": f"{self.upstream.url}/v1"}
        return {**super().headers(), **route}


class Rolter(Peer):
    name = "rolter"

    @classmethod
    def install(cls) -> str:
        install.python_peer("rolter")
        return install.python_peer_version("rolter")

    def command(self) -> list[str]:
        path = self.folder / "rolter.toml"
        target = f'provider = "mock"\nmodel = "{payloads.MODEL}"\n'
        path.write_text(
            f'[server]\nhost = "127.0.0.1"\nport = {self.port}\n'
            f'[[providers]]\nname = "mock"\nkind = "openai_compatible"\napi_base = "{self.upstream.url}"\n'
            f'[[routes]]\nmodel = "{payloads.MODEL}"\nstrategy = "round_robin"\n[[routes.targets]]\n{target}',
            encoding="utf-8",
        )
        return [str(install.python_peer("rolter")), "gateway", "--config", str(path)]


class Ferrogw(Peer):
    name = "ferrogw"

    @classmethod
    def install(cls) -> str:
        install.python_peer("ferrogw")
        return install.python_peer_version("ferrogw")

    def command(self) -> list[str]:
        path = self.folder / "ferrogw.yaml"
        # It serves only models of its catalogue.
        aliases = f"aliases: {{{payloads.MODEL}: gpt-4o-mini}}\n"
        path.write_text(
            f"strategy: {{mode: fallback}}\n{aliases}targets: [{{virtual_key: openai}}]\n", encoding="utf-8"
        )
        return [str(install.python_peer("ferrogw")), "serve"]

    def environment(self) -> Mapping[str, str]:
        offline = {"FERRO_MODEL_CATALOG_TIMEOUT": "0", "FERRO_MODEL_DISCOVERY_INTERVAL": "0"}
        upstream = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": self.upstream.url}
        own = {"PORT": str(self.port), "GATEWAY_CONFIG": str(self.folder / "ferrogw.yaml"), "MASTER_KEY": KEY}
        return {**offline, **upstream, **own, "RATE_LIMIT_RPS": "0"}


def model_list(upstream: Upstream) -> str:
    """The part of the configuration that gatewayd and LiteLLM's proxy share."""
    if upstream.wire == "anthropic":
        params = f"{{model: anthropic/claude-{payloads.MODEL}, api_base: '{upstream.url}', api_key: sk-upstream}}"
    else:
        params = f"{{model: openai/{payloads.MODEL}, api_base: '{upstream.url}/v1', api_key: sk-upstream}}"
    entries = "".join(
        f"  - {{model_name: {group}, litellm_params: {params}, model_info: {{id: {group}-{number}}}}}\n"
        for group, number in ((payloads.MODEL, 1), (payloads.MODEL, 2), ("spare", 1))
    )
    routing = f"router_settings: {{num_retries: 2, fallbacks: [{{{payloads.MODEL}: [spare]}}]}}\n"
    return f"model_list:\n{entries}{routing}general_settings: {{master_key: {KEY}}}\n"
