"""Every secret is a canary, and every output of the process is searched for it.

All secrets hold one marker. The daemon runs at debug level through everything that goes well and wrong; then nothing of
what it said, to clients, to the admin side, to its log, may hold the marker in any spelling.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import stat
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.process import PATIENCE, Daemon, command, eventually
from tests.fakeup import HANG, RST, FakeUpstream, Received, json_reply, raw_reply, sse_reply
from tests.replies import Reply, chat_events, head
from tests.stand_ins import anthropic
from tests.web.support import free_port

MARKER = "CaNaRy7f3q"
PROMPT = "PrOmPt9d2x"
CRASH = "crash-please"


def canary(name: str) -> str:
    return f"sk-{name}-{MARKER}-{name[::-1]}"


MASTER, OTHER_MASTER = canary("master"), canary("master-the-next")
IN_FILE, IN_ENVIRONMENT, IN_SECRET_FILE = canary("inline"), canary("environment"), canary("secret-file")
HEADER, PASSWORD, PEM, BODY = canary("header"), canary("password"), canary("pem"), canary("body")

SPELLINGS = {
    "as it is": MARKER,
    "quoted for a URL": "".join(f"%{ord(char):02X}" for char in MARKER),
    "backwards": MARKER[::-1],
    **{
        f"base64 {shift}": base64.b64encode(b"x" * shift + MARKER.encode())[begin:end].decode()
        for shift, (begin, end) in enumerate(
            [(0, 13), (2, 14), (3, 16)]
        )  # the letters that its neighbours do not touch
    },
}


def found_in(text: str) -> list[str]:
    lower = urllib.parse.unquote(text).lower()
    return [name for name, spelling in SPELLINGS.items() if spelling.lower() in lower or spelling in text]


def config(
    folder: Path, up: FakeUpstream, ports: tuple[int, int], *, form: str, master: str = "os.environ/THE_MASTER_KEY"
) -> str:
    (folder / "secret.txt").write_text(IN_SECRET_FILE)
    account = {"type": "service_account", "project_id": "p", "private_key_id": "x", "client_email": "a@b.example",
               "private_key": f"-----BEGIN PRIVATE KEY-----\n{PEM}\n-----END PRIVATE KEY-----\n",
               "token_uri": "http://127.0.0.1:1/token"}  # fmt: skip
    base = up.base_url
    params: dict[str, dict[str, Any]] = {
        "inline": {"model": "openai/m", "api_base": base, "api_key": IN_FILE, "extra_headers": {"x-extra": HEADER}},
        "environment": {"model": "openai/m", "api_base": base, "api_key": "os.environ/THE_UPSTREAM_KEY"},
        "file": {"model": "openai/m", "api_base": base, "api_key": "file:secret.txt", "extra_body": {"a_token": BODY}},
        "claude": {"model": "anthropic/claude-m", "api_base": base.removesuffix("/v1"), "api_key": IN_FILE},
        "package": {"model": "moonshot/m", "api_base": base, "api_key": IN_FILE},  # goes through the openai package
        "bedrock": {"model": "bedrock/amazon.nova-m", "aws_region_name": "x", "api_base": base.removesuffix("/v1")},
        "nowhere": {"model": "openai/m", "api_base": "http://127.0.0.1:1/v1", "api_key": IN_FILE},
        "nobody": {"model": "openai/m", "api_base": "http://no-such-host.invalid/v1", "api_key": IN_FILE},
        "vertex": {"model": "vertex_ai/gemini-m", "vertex_project": "p", "vertex_location": "x",
                   "vertex_credentials": json.dumps(account)},
    }  # fmt: skip
    if form == "json":  # of which nothing is asked that goes through litellm: it is not loaded
        params = {name: entry for name, entry in params.items() if entry["model"] == "openai/m"}
    return json.dumps(
        {
            "model_list": [{"model_name": name, "litellm_params": entry} for name, entry in params.items()],
            "general_settings": {"master_key": master},
            "router_settings": {"num_retries": 1, "cooldown_time": 0.01},
            "gatewayd": {
                "listen": f"127.0.0.1:{ports[0]}",
                "admin": f"127.0.0.1:{ports[1]}",
                "drain": 1,
                "timeouts": {"first_byte": 0.3, "connect": 1},
                "log": {"format": form, "level": "debug"},
            },
        },
        indent=1,
    )


ENVIRON = {
    "THE_MASTER_KEY": MASTER,
    "THE_UPSTREAM_KEY": IN_ENVIRONMENT,
    "OPENAI_API_KEY": canary("openai"),
    "ANTHROPIC_API_KEY": canary("anthropic"),
    "DATABASE_PASSWORD": PASSWORD,
    "HF_TOKEN": canary("token"),
    "AWS_ACCESS_KEY_ID": canary("aws"),
    "AWS_SECRET_ACCESS_KEY": canary("aws-secret"),
    "AWS_SESSION_TOKEN": canary("aws-session"),
}

SSE = head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])


def misbehave(request: Received) -> Reply:
    """What the field `user` asks for, with the key that came in it, as careless upstreams put it into errors."""
    body = request.json()
    key = request.headers.get("authorization", request.headers.get("x-api-key", ""))
    key = key.removeprefix("Bearer ")
    case = body.get("user") or body.get("metadata", {}).get("user_id") or ""
    error = {"error": {"message": f"Incorrect API key provided: {key}.", "type": key, "param": key, "code": "bad_key"}}
    headers = [("x-ratelimit-limit-requests", "1"), ("www-authenticate", f"Bearer {key}"), ("set-cookie", f"k={key}")]
    if case.isdecimal():
        return json_reply(error, status=int(case), headers=headers)
    match case:
        case "anthropic":
            return anthropic.error(401, "authentication_error", f"invalid x-api-key {key}")
        case "html":
            page = f"<html>{key}</html>".encode()
            return raw_reply(head(500, [("content-type", "text/html"), ("content-length", str(len(page)))]) + page)
        case "redirect":
            place = f"http://127.0.0.1:1/?api_key={key}"
            return raw_reply(head(302, [("location", place), ("content-length", "0")]))
        case "noise":
            return raw_reply(f"{key} is no HTTP\r\n\r\n".encode(), close=True)
        case "odd header":
            return raw_reply(f"HTTP/1.1 200 OK\r\n{key}\x01: {key}\r\n\r\n".encode(), close=True)
        case "reset":
            return raw_reply(RST)
        case "hang":
            return raw_reply(HANG)
        case "cut":
            return raw_reply(head(200, [("content-type", "application/json"), ("content-length", "99")]), close=True)
        case "first event":
            return sse_reply([b"data: " + json.dumps(error).encode() + b"\n\n"])
        case "cut stream":
            return raw_reply(SSE, RST)
        case _:
            pass
    if request.path == "/v1/messages":
        return anthropic.answer(request)
    return sse_reply(chat_events("Hello")) if body.get("stream") else json_reply({"choices": [{}]})


STREAMED = ["", "401", "first event", "cut stream", CRASH]
CASES = [
    *("400", "401", "403", "404", "429", "500", "503"),
    *("html", "redirect", "noise", "odd header", "reset", "hang", "cut", "anthropic", "", CRASH),
]


class Ears:
    """A client that keeps everything it was ever told."""

    def __init__(self) -> None:
        self.heard: dict[str, str] = {}

    async def hear(self, url: str, data: bytes, name: str) -> str:
        """Sends bytes and keeps what comes back until the connection ends."""
        host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, int(port))
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                text = (await reader.read()).decode("latin-1")
            writer.close()
        self.heard[name] = text
        return text

    async def ask(self, url: str, method: str, path: str, name: str, body: bytes = b"", **fields: str) -> str:
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "connection: close", f"content-length: {len(body)}"]
        lines += [f"{field.replace('_', '-')}: {value}" for field, value in fields.items()]
        return await self.hear(url, "\r\n".join([*lines, "", ""]).encode("latin-1") + body, name)


def chat(model: str, case: str, *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": f"{PROMPT} {CRASH if case == CRASH else ''}"}]
    return json.dumps({"model": model, "user": case, "stream": stream, "messages": messages}).encode()


async def everything_that_is_asked(daemon: Daemon, ears: Ears, key: str, *, all_of_it: bool) -> None:
    bearer = f"Bearer {key}"
    cases: dict[str, list[str]] = {"inline": CASES, "nowhere": [""], "unknown": [""]}
    if all_of_it:
        few = ["", "401", "500"]
        cases |= {"claude": CASES, "environment": few, "file": few, "nobody": [""], "vertex": [""]}
        cases |= {"package": few, "bedrock": few}
    asked = [(model, case, False) for model, those in cases.items() for case in those]
    asked += [(model, case, True) for model in ("inline", "claude") for case in STREAMED if model in cases]
    for model, case, stream in asked:
        body = chat(model, case, stream=stream)
        fields = {"authorization": bearer, "x_litellm_timeout": "2"}
        await ears.ask(daemon.data, "POST", "/v1/chat/completions", f"{model} {case} {stream}", body, **fields)
    wrong = canary("wrong")
    for name, fields in {
        "wrong": {"authorization": f"Bearer {wrong}"},
        "wrong header": {"x_api_key": wrong},
        "basic": {"authorization": f"Basic {base64.b64encode(key.encode()).decode()}"},
        "timeout": {"authorization": bearer, "x_litellm_timeout": wrong},
        "id": {"authorization": bearer, "x_request_id": "a b"},
        "type": {"authorization": bearer, "content_type": f"text/{wrong}"},
        "coding": {"authorization": bearer, "content_encoding": wrong},
        "expect": {"authorization": bearer, "expect": wrong},
        "host": {"authorization": bearer, "origin": f"http://{wrong}"},
    }.items():
        await ears.ask(daemon.data, "POST", "/v1/chat/completions", name, chat("inline", ""), **fields)
    for name, body in {
        "no JSON": b'{"model": "inline", "prompt": "' + PROMPT.encode() + b'" x}',
        "steering": json.dumps({"model": "inline", "api_key": wrong}).encode(),
        "wrong type": json.dumps({"model": {"x": PROMPT}}).encode(),
        "twice": b'{"model": "inline", "model": "inline"}',
    }.items():
        await ears.ask(daemon.data, "POST", "/v1/chat/completions", name, body, authorization=bearer)
    for method, path in (("GET", "/v1/models"), ("GET", "/v1/models/inline"), ("DELETE", "/v1/models"), ("GET", "/x"),
                         ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/config")):  # fmt: skip
        await ears.ask(daemon.data, method, path, f"{method} {path}", authorization=bearer)
    for number, data in enumerate(
        (b"GET / HTTP/1.1\r\nAuthorization: %b\r\nX\r\n\r\n", b"%b\r\n\r\n", b"\x16\x03\x01%b\r\n\r\n")
    ):
        await ears.hear(daemon.data, data % bearer.encode(), f"no HTTP {number}")
    for method, path in (("GET", "/"), ("GET", "/status"), ("GET", "/config"), ("GET", "/metrics"), ("POST", "/reload"),
                         ("POST", "/config"), ("GET", "/nothing")):  # fmt: skip
        await ears.ask(daemon.admin, method, path, f"admin {method} {path}", authorization=bearer)


def mistakes(good: str) -> Iterator[tuple[str, str]]:
    """Configurations with a secret in the very place that is wrong."""
    entry = '{"model_name": "x", "litellm_params": {"model": "openai/m", %s}}'
    fields = {
        "a list": f'"api_key": ["{canary("bad-1")}"]',
        "a map": f'"api_key": {{"a": "{canary("bad-2")}"}}',
        "wrong place": f'"rpm": "{canary("bad-3")}"',
        "twice": f'"api_key": "{canary("bad-4")}", "api_key": "{canary("bad-5")}"',
        "the key itself behind os.environ": f'"api_key": "os.environ/{canary("bad-6")}"',
        "the key itself behind file": f'"api_key": "file:{canary("bad-7")}"',
        "address": f'"api_base": "http://u:{canary("bad-8")}@bad host/"',
        "header": f'"extra_headers": {{"authorization": "Bearer {canary("bad-9")}\\nX: y"}}',
        "headers": f'"extra_headers": {{"authorization": ["{canary("bad-10")}"]}}',
        "unknown": f'"api_kee": "{canary("bad-11")}"',
        "unclosed": f'"api_key": "{canary("bad-12")}',
        "credentials": f'"vertex_credentials": "{{{canary("bad-13")}"',
        "aws": f'"aws_secret_access_key": {{"a": "{canary("bad-14")}"}}',
    }
    for name, text in fields.items():
        yield name, good.replace('"model_list": [', '"model_list": [' + entry % text + ",")
    sections: dict[str, dict[str, Any]] = {
        "master": {"general_settings": {"master_key": [canary("bad-20")]}},
        "database": {"general_settings": {"database_url": f"postgres://u:{canary('bad-21')}@h/d", "bogus": 1}},
        "cache": {"litellm_settings": {"cache": True, "cache_params": {"password": canary("bad-22")}}},
        "redis": {"router_settings": {"redis_password": canary("bad-23"), "num_retries": canary("bad-24")}},
        "variables": {"environment_variables": {"PATH": canary("bad-25"), "THE_KEY": [canary("bad-26")]}},
        "own": {"gatewayd": {"listen": f"${{{canary('bad-27')}}}", "drain": canary("bad-28")}},
    }
    for name, changes in sections.items():
        tree = json.loads(good)
        for section, values in changes.items():
            tree[section] = tree.get(section, {}) | values
        yield name, json.dumps(tree, indent=1)
    for name, text in {
        "tab": f"general_settings:\n\tmaster_key: {canary('bad-29')}",
        "merge": f"x: &x {{api_key: {canary('bad-30')}}}\ny: {{<<: [*x, {canary('bad-31')}]}}",
        "not YAML": f"{canary('bad-32')}: [",
        "text": canary("bad-33"),
    }.items():
        yield name, text


_CRASH = f"""
import sys
if any("gatewayd" in part for part in sys.orig_argv):
    import os
    import gatewayd.wire.openai as module
    peek = module.peek
    def crashing(body, **fields):
        if b"{CRASH}" in body:
            secrets = os.environ["THE_MASTER_KEY"], {IN_FILE!r}, {HEADER!r}
            raise RuntimeError(f"{{secrets}} {{secrets!r}} " + " ".join(secrets))
        return peek(body, **fields)
    module.peek = crashing
"""
"""A bug of ours whose exception holds every secret: a `sitecustomize` module puts it into the daemon."""


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.timeout(300)
async def test_no_secret_is_in_any_output(form: str, tmp_path: Path) -> None:
    """D-02, D-03, D-04, C-14, D-17"""
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "sitecustomize.py").write_text(_CRASH)
    environ = {**ENVIRON, "PYTHONPATH": f"{stub}:{Path(__file__).parents[2]}"}
    ears = Ears()
    path = tmp_path / "gateway.yaml"
    async with FakeUpstream(misbehave) as up:
        ports = free_port(), free_port()
        good = config(tmp_path, up, ports, form=form)
        path.write_text(good)
        path.chmod(0o600)
        with (tmp_path / "stdout").open("wb") as out:
            async with Daemon(path, environ=environ, stdout=out.fileno(), wait=False) as daemon:
                daemon.data, daemon.admin = (f"http://127.0.0.1:{port}" for port in ports)
                await eventually(lambda: _serves(daemon))
                for line in _arguments(daemon.pid):
                    ears.heard[f"arguments {line[:40]}"] = line
                assert stat.S_IMODE(os.stat(f"/proc/{daemon.pid}/environ").st_mode) == 0o400
                await everything_that_is_asked(daemon, ears, MASTER, all_of_it=form == "text")
                rejected = 0
                for name, text in [*mistakes(good)][:: 1 if form == "text" else 4]:
                    path.write_text(text)
                    told = await ears.ask(daemon.admin, "POST", "/reload", f"reload {name}")
                    rejected += '"rejected"' in told
                    await ears.ask(daemon.admin, "GET", "/config", f"config after {name}")
                    for line in _arguments(daemon.pid):
                        ears.heard[f"arguments {name} {line[:40]}"] = line
                assert rejected > (15 if form == "text" else 3)
                await ears.ask(daemon.admin, "GET", "/status", "status after mistakes")
                path.write_text(config(tmp_path, up, ports, form=form, master=OTHER_MASTER))
                await ears.ask(daemon.admin, "POST", "/reload", "reload another key")
                await ears.ask(
                    daemon.data, "POST", "/v1/chat/completions", "old key", chat("inline", ""),
                    authorization=f"Bearer {MASTER}",
                )  # fmt: skip
                assert " 401 " in ears.heard["old key"].partition("\r\n")[0]
                daemon.signal(signal.SIGHUP)
                daemon.signal(signal.SIGTERM)
                assert await daemon.exit_code() == 0
                log = "\n".join(daemon.log)
        for name, text in [("good", good), *mistakes(good)][:: 3 if form == "text" else 12]:
            path.write_text(text)
            code, told, errors = await command("check", "--format", "json", "--config", str(path), environ=ENVIRON)
            ears.heard[f"check {name}"] = told + errors
            if code and name in ("wrong place", "own"):
                _, told, errors = await command("run", "--config", str(path), environ=ENVIRON)
                ears.heard[f"run {name}"] = told + errors
    ears.heard["log"] = log
    ears.heard["standard output"] = (tmp_path / "stdout").read_text()
    assert log.count("Traceback") >= 2
    assert "crashing" in log
    assert "***" in log  # what the redactor has found
    assert (log.startswith("{")) == (form == "json")
    assert not {name: found for name, text in ears.heard.items() if (found := found_in(text))}
    for name, text in ears.heard.items():
        if name == "log" or name.startswith(("admin", "status", "standard")):
            assert PROMPT not in text, name


async def _serves(daemon: Daemon) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with daemon.session.get(f"{daemon.admin}/status") as response:
            return response.status == 200
    return False


def _arguments(pid: int) -> list[str]:
    """The command lines of a process and of its children."""
    lines = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (
                int(entry.name) == pid or re.search(rf"^PPid:\t{pid}$", (entry / "status").read_text(), re.MULTILINE)
            ):
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return lines


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_the_search_finds_what_it_is_for(spelling: str) -> None:
    """D-02"""
    assert found_in(f"x{spelling}y")
    assert found_in(base64.b64encode(f"u:{MASTER}".encode()).decode())
    assert not found_in("nothing")
