"""Model servers that run on this machine, and how to start them, for the message that one is not running."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from gatewayd.config.snapshot import Deployment

_OLLAMA: Final = "is Ollama running? `ollama serve` starts it"
_LM_STUDIO: Final = "is LM Studio's server running? `lms server start` starts it"
_VLLM: Final = "is vLLM running? `vllm serve MODEL` starts it"
_LLAMA_CPP: Final = "is llama.cpp running? `llama-server -m MODEL` starts it"

_BY_PROVIDER: Final = {
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "lm_studio": _LM_STUDIO,
    "hosted_vllm": _VLLM,
    "vllm": _VLLM,
    "llamafile": "is the llamafile running? Start it with `--server`",
    "xinference": "is Xinference running? `xinference-local` starts it",
    "docker_model_runner": "is Docker Model Runner on? `docker desktop enable model-runner --tcp 12434` turns it on",
}
_BY_PORT: Final = {
    1234: _LM_STUDIO,
    1337: "is Jan's local API server running? Its settings start it",
    8000: _VLLM,
    8080: _LLAMA_CPP,
    9997: _BY_PROVIDER["xinference"],
    11434: _OLLAMA,
    12434: _BY_PROVIDER["docker_model_runner"],
    30000: "is SGLang running? `python -m sglang.launch_server` starts it",
}
_ELSE: Final = "no server listens there"
_IN_A_CONTAINER: Final = "in a container, this address is the container itself"


def local_server_hint(deployment: Deployment) -> str | None:
    """What to do when the deployment's server refuses connections, or None if it runs on another machine."""
    try:
        parts = urlsplit(f"//{deployment.authority}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if host != "localhost" and host != "::1" and not host.startswith("127."):
        return None
    return f"{_BY_PROVIDER.get(deployment.provider) or _BY_PORT.get(port or 80, _ELSE)}; {_IN_A_CONTAINER}"
