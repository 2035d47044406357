from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from gatewayd.client.connections import Connections, GatewayAddress
from tests.certificates import Authority
from tests.client.upstreams import Upstream, eventually, upstream


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as up:
        yield up


def connections(up: Upstream) -> Connections:
    return Connections(GatewayAddress(up.base_url, "sk-test", 10.0, 0))


async def say(made: Connections) -> None:
    await made.asynchronous.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])


def say_now(made: Connections) -> None:
    made.sync.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])


def all_gone(up: Upstream) -> bool:
    return all(peer.gone.is_set() for peer in up.peers)


def test_one_client_for_all_threads(up: Upstream) -> None:
    made = connections(up)
    found = {id(made.sync)}
    thread = threading.Thread(target=lambda: found.add(id(made.sync)))
    thread.start()
    thread.join()
    assert len(found) == 1
    made.close()


def test_servers_see_the_sdk_by_its_name(up: Upstream) -> None:
    made = connections(up)
    say_now(made)
    asyncio.run(say(made))
    names = [request.headers["user-agent"] for request in up.requests]
    assert names == [f"OpenAI/Python {openai.__version__}", f"AsyncOpenAI/Python {openai.__version__}"]
    made.close()


def test_every_loop_has_a_client_that_is_closed_with_it(up: Upstream) -> None:
    made = connections(up)
    for number in range(1, 4):
        asyncio.run(say(made))
        assert up.connection_count == number
        eventually(lambda: all_gone(up))
    made.close()


def test_loops_of_several_threads_do_not_meet(up: Upstream) -> None:
    made = connections(up)
    threads = [threading.Thread(target=asyncio.run, args=(say(made),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert up.connection_count == 4
    eventually(lambda: all_gone(up))
    made.close()


async def test_within_a_loop_the_client_and_its_connection_stay(up: Upstream) -> None:
    made = connections(up)
    await say(made)
    client = made.asynchronous
    await say(made)
    assert made.asynchronous is client
    assert up.connection_count == 1
    await made.aclose()
    eventually(lambda: all_gone(up))


def test_outside_a_loop_there_is_no_asynchronous_client(up: Upstream) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        _ = connections(up).asynchronous


def test_closing_closes_and_stays_closed(up: Upstream) -> None:
    made = connections(up)
    say_now(made)
    made.close()
    made.close()
    eventually(lambda: all_gone(up))
    with pytest.raises(RuntimeError, match="the gateway is closed"):
        _ = made.sync


async def test_closing_from_inside_a_loop_closes_its_client_a_moment_later(up: Upstream) -> None:
    made = connections(up)
    await say(made)
    made.close()
    await asyncio.to_thread(eventually, lambda: all_gone(up))
    with pytest.raises(RuntimeError, match="the gateway is closed"):
        _ = made.asynchronous


@pytest.mark.parametrize("collect", [False, True])
def test_closing_as_the_last_thing_a_loop_does_closes_every_connection(up: Upstream, collect: bool) -> None:
    """What is left running is cancelled by `asyncio.run`; closing is not."""
    made = connections(up)

    async def use() -> None:
        nonlocal made
        await asyncio.gather(*(say(made) for _ in range(5)))
        made.close()
        if collect:
            made = connections(up)
            gc.collect()

    asyncio.run(use())
    gc.collect()  # an unclosed transport would complain
    assert up.connection_count > 1
    eventually(lambda: all_gone(up))


def test_closing_reaches_the_loops_of_other_threads(up: Upstream) -> None:
    made = connections(up)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(say(made), loop).result(10)
    asyncio.run(made.aclose())
    eventually(lambda: all_gone(up))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_client_somebody_closed_is_replaced(up: Upstream) -> None:
    made = connections(up)
    made.sync.close()
    say_now(made)

    async def close_and_say() -> None:
        await made.asynchronous.close()
        await say(made)

    asyncio.run(close_and_say())
    assert len(up.requests) == 2
    made.close()


def test_clients_nobody_refers_to_close_themselves(up: Upstream) -> None:
    made = connections(up)
    say_now(made)
    del made
    gc.collect()
    eventually(lambda: all_gone(up))


async def test_asynchronous_clients_nobody_refers_to_are_closed_by_their_loop(up: Upstream) -> None:
    made = connections(up)
    await say(made)
    del made
    gc.collect()
    await asyncio.to_thread(eventually, lambda: all_gone(up))


def test_clients_taken_out_outlive_what_made_them(up: Upstream) -> None:
    made = connections(up)
    client = made.sync
    del made
    gc.collect()
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    client.close()


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("http://127.0.0.1:4000/v1", False),
        ("http://localhost:4000/v1", False),
        ("http://[::1]:4000/v1", False),
        ("https://gw.example/v1", True),
    ],
)
def test_proxies_of_the_environment_are_not_for_this_machine(url: str, trusted: bool) -> None:
    assert GatewayAddress(url, "sk-secret", 1.0, 0).trust_env is trusted


def test_an_authority_of_ones_own_is_trusted_on_this_machine_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in front of the daemon, with a certificate for `localhost`; the SDK's own clients take it."""
    authority = Authority(tmp_path)
    (tmp_path / "authority.pem").write_text(authority.pem)
    with upstream(tls=authority.server("localhost")) as up:
        stranger = connections(up)
        with pytest.raises(openai.APIConnectionError):
            say_now(stranger)
        stranger.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        made = connections(up)
        say_now(made)
        asyncio.run(say(made))
        made.close()


def test_the_key_is_not_shown() -> None:
    assert "sk-secret" not in repr(GatewayAddress("http://127.0.0.1:4000/v1", "sk-secret", 1.0, 0))
