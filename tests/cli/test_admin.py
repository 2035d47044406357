"""Finding and asking a daemon's admin listener."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatewayd.cli.admin import Admin, NoDaemon, discover

MODELS = "model_list: [{model_name: a, litellm_params: {model: openai/a, mock_response: hi}}]\n"


@contextmanager
def listener(answer: bytes, path: Path | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Answers one connection; gives its own URL and what it was asked."""
    asked: list[bytes] = []
    server = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    server.bind(str(path) if path else ("127.0.0.1", 0))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            asked.append(connection.recv(65_536))
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"unix:{path}" if path else f"http://127.0.0.1:{server.getsockname()[1]}", asked
    finally:
        thread.join()
        server.close()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@pytest.mark.parametrize("kind", ["tcp", "unix", "bare"])
def test_asking(kind: str, tmp_path: Path) -> None:
    with listener(http(b'{"x": 1}', "422 Refused"), tmp_path / "sock" if kind == "unix" else None) as (url, asked):
        if kind == "bare":
            url = url.removeprefix("http://")
        assert Admin(url, "sk-key").request("POST", "/reload", timeout=10) == (422, {"x": 1})
    head = asked[0].lower()
    assert head.startswith(b"post /reload http/1.1\r\n")
    assert b"\r\nauthorization: bearer sk-key\r\n" in head
    assert head.count(b"\r\nhost: ") == 1


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", http(b"<html>")])
def test_something_else_answers(answer: bytes) -> None:
    with (
        listener(answer) as (url, _),
        pytest.raises(NoDaemon, match=f"{url} answers, but it is not an admin listener of gatewayd"),
    ):
        Admin(url).request("GET", "/status", timeout=10)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "unix:/nowhere/at/all", "http://127.0.0.1:none", "http://"])
def test_nobody_answers(url: str) -> None:
    """F-12"""
    with pytest.raises(NoDaemon, match=r"no daemon answers|not an address"):
        Admin(url).request("GET", "/status", timeout=1)


def test_silence_is_not_the_same_as_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(TimeoutError):
        Admin(f"127.0.0.1:{server.getsockname()[1]}").request("GET", "/status", timeout=0.05)


def test_what_was_said_wins_over_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(MODELS + "gatewayd: {admin: '127.0.0.1:3'}\n")
    environ = {"GATEWAYD_ADMIN": "http://127.0.0.1:2", "GATEWAYD_CONFIG": str(file)}
    assert discover("http://127.0.0.1:1", None, environ).url == "http://127.0.0.1:1"
    assert discover(None, None, environ).url == "http://127.0.0.1:2"
    del environ["GATEWAYD_ADMIN"]
    assert discover(None, None, environ).url == "127.0.0.1:3"
    assert discover(None, None, {**environ, "GATEWAYD_API_KEY": "sk"}).key == "sk"


@pytest.mark.parametrize(
    ("text", "url", "guessed"),
    [
        (MODELS, "127.0.0.1:4001", False),
        (MODELS + "gatewayd: {admin: 'unix:/run/g.sock'}\n", "unix:/run/g.sock", False),
        (MODELS + "gatewayd: {admin: 'unix:g.sock'}\n", "unix:DIR/g.sock", False),
        (MODELS + "gatewayd: {admin: '0.0.0.0:9'}\n", "0.0.0.0:9", False),
        (MODELS + "gatewayd: {admin: [nonsense]}\n", "127.0.0.1:4001", True),
        (MODELS + "gatewayd: {admin: os.environ/NOT_SET}\n", "127.0.0.1:4001", True),
        # The file is broken, which is when the daemon is asked most.
        (
            MODELS + "gatewayd:\n  listen: x\n\n  # here\n  admin: '127.0.0.1:9'  # note\nbroken: [",
            "127.0.0.1:9",
            False,
        ),
        (MODELS + "gatewayd: # note\n  admin: unix:g.sock\nbroken: [", "unix:DIR/g.sock", False),
        (MODELS + "other:\n  admin: 127.0.0.1:9\nbroken: [", "127.0.0.1:4001", True),
        ("", "127.0.0.1:4001", True),
    ],
)
def test_the_files_address(text: str, url: str, guessed: bool, tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(text)
    found = discover(None, str(file), {})
    assert found.url == url.replace("DIR", str(tmp_path))
    assert found.guessed is guessed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MODELS, "(the default: FILE has no gatewayd.admin; use --admin for another)"),
        (
            MODELS + "gatewayd: {admni: '127.0.0.1:9'}\n",
            "(the default: FILE has no gatewayd.admin; use --admin for another)",
        ),
        (MODELS + "broken: [", "(a guess, because the file does not say it; use --admin)"),
        (MODELS + "gatewayd: {admin: '127.0.0.1:1'}\n", "no daemon answers at 127.0.0.1:1: "),
    ],
)
def test_who_is_not_there_is_told_with_where_the_address_comes_from(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-12: an edit that spoils the address's own line must not look like a daemon that died."""
    monkeypatch.setattr("gatewayd.cli.admin._DEFAULT", "127.0.0.1:1")
    file = tmp_path / "gatewayd.yaml"
    file.write_text(text)
    with pytest.raises(NoDaemon) as caught:
        discover(None, str(file), {}).request("GET", "/status", timeout=10)
    assert said.replace("FILE", str(file)) in str(caught.value)


@pytest.mark.parametrize("reference", ["sk-in-the-file-0001", "os.environ/MINE", "os.environ/OURS", "file:secret"])
def test_the_files_key_goes_where_one_is_asked_for(reference: str, tmp_path: Path) -> None:
    """D-09: and nowhere else: not to a loopback address, not to one that was told."""
    file = tmp_path / "gatewayd.yaml"
    (tmp_path / "secret").write_text("sk-in-the-file-0001\n")
    text = (
        MODELS + f"general_settings: {{master_key: '{reference}'}}\nenvironment_variables: {{OURS: os.environ/MINE}}\n"
    )
    environ = {"MINE": "sk-in-the-file-0001"}
    file.write_text(text + "gatewayd: {admin: '0.0.0.0:9'}\n")
    assert discover(None, str(file), environ).key == "sk-in-the-file-0001"
    assert discover(None, str(file), {**environ, "GATEWAYD_API_KEY": "sk-mine"}).key == "sk-mine"
    assert discover("http://127.0.0.1:9", str(file), environ).key is None
    for loopback in ("127.0.0.1:9", "unix:/run/g.sock", "'[::1]:9'"):
        file.write_text(text + f"gatewayd: {{admin: {loopback}}}\n")
        assert discover(None, str(file), environ).key is None


def test_litellms_variable_is_sent_where_a_key_is_asked_for(tmp_path: Path) -> None:
    """U-A2: for a file without a master_key; a file with one has its own sent."""
    file = tmp_path / "gatewayd.yaml"
    environ = {"LITELLM_MASTER_KEY": "sk-of-litellm-0001"}
    file.write_text(MODELS + "gatewayd: {admin: '0.0.0.0:9'}\n")
    assert discover(None, str(file), environ).key == "sk-of-litellm-0001"
    assert discover("http://127.0.0.1:9", str(file), environ).key is None
    file.write_text(MODELS + "general_settings: {master_key: sk-file-1}\ngatewayd: {admin: '0.0.0.0:9'}\n")
    assert discover(None, str(file), environ).key == "sk-file-1"


@pytest.mark.parametrize("place", ["192.0.2.1:9", "elsewhere.example:9", "gatewayd:9", "127.elsewhere.example:9"])
def test_a_file_cannot_send_what_it_refers_to_to_another_machine(place: str, tmp_path: Path) -> None:
    """D-02: `gatewayd status` in a folder with a stranger's gatewayd.yaml must be harmless."""
    file = tmp_path / "gatewayd.yaml"
    key = "general_settings: {master_key: os.environ/OPENAI_API_KEY}\n"
    file.write_text(MODELS + key + f"gatewayd: {{admin: '{place}'}}\n")
    assert discover(None, str(file), {"OPENAI_API_KEY": "sk-mine"}).key is None
    host, port = place.split(":")
    file.write_text(MODELS + key + f"gatewayd: {{admin: '127.${{OPENAI_API_KEY}}.{host}:{port}'}}\n")
    found = discover(None, str(file), {"OPENAI_API_KEY": "sk-mine"})
    assert (found.url, found.key, found.guessed) == ("127.0.0.1:4001", None, True)


def test_a_key_that_leads_nowhere_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(MODELS + "general_settings: {master_key: os.environ/NOT_SET}\ngatewayd: {admin: '0.0.0.0:9'}\n")
    assert discover(None, str(file), {}).key is None


def test_the_files_address_may_be_a_reference(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(MODELS + "gatewayd: {admin: '${PLACE:-127.0.0.1:8}'}\n")
    assert discover(None, str(file), {}).url == "127.0.0.1:8"
    assert discover(None, str(file), {"PLACE": "127.0.0.1:9"}).url == "127.0.0.1:9"


@pytest.mark.parametrize("word", ["off", "'off'", "false"])
def test_an_admin_listener_that_is_off(word: str, tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(MODELS + f"gatewayd: {{admin: {word}}}\n")
    with pytest.raises(NoDaemon, match="admin: off"):
        discover(None, str(file), {})


def test_a_wildcard_address_is_asked_on_this_machine() -> None:
    with listener(http(b"{}")) as (url, _):
        port = url.rpartition(":")[2]
        assert Admin(f"0.0.0.0:{port}").request("GET", "/status", timeout=10) == (200, {})
