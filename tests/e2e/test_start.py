"""How a daemon begins: where its configuration comes from, where it listens, and how it refuses to start."""

import json
import os
import shlex
import signal
import socket
from pathlib import Path

import pytest

from tests.e2e.process import Daemon, command, config, eventually
from tests.e2e.test_rebinding import free_port

KEY = "sk-master-0123456789abcdef"


async def refused(*arguments: str, **environ: str) -> tuple[int, str]:
    code, out, err = await command("run", *arguments, environ=environ)
    assert out == ""
    return code, err


async def test_an_invalid_file_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    """E-33, R13"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text("model_list:\n  - model_name: a\n  - litellm_params: {model: openai/x}\nmodel_lst: 1\n")
    code, err = await refused("-c", str(file))
    assert code == 78
    assert f"{file}:2:" in err
    assert f"{file}:3:" in err
    assert "did you mean 'model_list'" in err


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, err = await refused("-c", str(tmp_path / "nothing.yaml"))
    assert code == 78
    assert "config_missing" in err


async def test_a_port_in_use_is_told_and_nothing_starts(tmp_path: Path) -> None:
    """E-25"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = await refused("-c", str(file), "--port", str(port))
    assert code == 1
    assert f"127.0.0.1:{port}: address already in use" in err


async def test_a_file_as_the_only_argument(tmp_path: Path) -> None:
    """U-E1: for `run`, `status` and `reload`."""
    file, admin = tmp_path / "mine.yaml", free_port()
    file.write_text(config("a", own=f"listen: 127.0.0.1:0\nadmin: 127.0.0.1:{admin}"))
    async with Daemon(None, str(file)) as daemon:
        assert await daemon.chat("a") == (200, "Hello from a")
        for words in (("reload", str(file), "--wait"), ("status", str(file))):
            code, out, _ = await command(*words, cwd=tmp_path)
            assert code == 0, out


@pytest.mark.parametrize("kind", ["port", "file", "off"])
async def test_the_admin_listener_is_where_the_flag_says(kind: str, tmp_path: Path) -> None:
    """U-E2: also after a reload."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    place = {"port": f"127.0.0.1:{free_port()}", "file": "unix:admin.sock", "off": "off"}[kind]
    async with Daemon(file, "--admin", place, cwd=tmp_path) as daemon:
        shown = {"port": f"http://{place}", "file": f"unix:{tmp_path}/admin.sock", "off": "off"}[kind]
        assert daemon.admin == shown
        daemon.signal(signal.SIGHUP)
        await daemon.logged("configuration unchanged")
        if kind != "off":
            code, out, _ = await command("reload", "--wait", "--admin", shown)
            assert (code, out.split(":")[0]) == (0, "unchanged")


async def test_a_second_daemon_without_a_file_says_what_to_do(tmp_path: Path) -> None:
    """U-E2: it needs a port and an admin address of its own."""
    data, admin = free_port(), free_port()
    cwd, environ = tmp_path, {"OPENAI_API_KEY": "sk-0123456789abcdef", "HOME": str(tmp_path)}
    flags = ("--port", str(data), "--admin", f"127.0.0.1:{admin}")
    async with Daemon(None, *flags, cwd=cwd, environ=environ):
        code, _, err = await command("run", *flags, cwd=cwd, environ=environ)
        assert code == 1
        assert f"cannot listen on 127.0.0.1:{data}" in err
        assert "use --port PORT" in err
        other = ("--port", str(free_port()), *flags[2:])
        code, _, err = await command("run", *other, cwd=cwd, environ=environ)
        assert code == 1
        assert f"cannot listen on 127.0.0.1:{admin}" in err
        assert "use --admin ADDR or --admin off" in err
        async with Daemon(None, *other[:2], "--admin", "off", cwd=cwd, environ=environ) as second:
            assert second.data == f"http://127.0.0.1:{other[1]}/v1"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--admin", "0.0.0.0:0"), "error[exposed_without_key] --admin"),
        (("--port", "4999", "--admin", "127.0.0.1:4999"), "127.0.0.1:4999 is used twice"),
    ],
)
async def test_the_rules_of_the_file_hold_for_the_admin_flag(flags: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """U-E2, D-07"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    code, err = await refused("-c", str(file), *flags)
    assert code == 78
    assert said in err


@pytest.mark.parametrize("how", ["file", "flag"])
async def test_other_machines_are_not_let_in_without_a_key(how: str, tmp_path: Path) -> None:
    """D-07"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own="listen: 0.0.0.0:0\nadmin: off" if how == "file" else ""))
    code, err = await refused("-c", str(file), *(["--host", "0.0.0.0"] if how == "flag" else []))
    assert code == 78
    assert "exposed_without_key" in err
    assert "master_key" in err


async def test_nor_by_a_reload(tmp_path: Path) -> None:
    """D-07, R11"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        outcome = await daemon.edit(config("a", own="listen: 0.0.0.0:0\nadmin: 127.0.0.1:0"))
        assert [problem["code"] for problem in outcome["problems"]] == ["exposed_without_key"]
        assert await daemon.chat("a") == (200, "Hello from a")


async def test_with_a_key_they_are(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", general_settings="{master_key: os.environ/LITELLM_MASTER_KEY}"))
    async with Daemon(file, "--host", "0.0.0.0", "--port", "0", environ={"LITELLM_MASTER_KEY": KEY}) as daemon:
        assert daemon.data.startswith("http://0.0.0.0:")
        assert (await daemon.chat("a"))[0] == 401
        assert (await daemon.chat("a", key=KEY))[0] == 200
        assert not any(KEY in line for line in daemon.log)


async def test_host_and_port_outlive_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, "--port", "0") as daemon:
        outcome = await daemon.edit(config("a", "b", own="listen: 127.0.0.1:1\nadmin: 127.0.0.1:0"))
        assert outcome["result"] == "applied"
        assert await daemon.chat("b") == (200, "Hello from b")


async def test_the_printed_curl_line_works_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("it's a model", general_settings='{completion_model: "it\'s a model"}'))
    async with Daemon(file) as daemon:
        line = (await daemon.logged("  curl ")).strip()
        arguments = shlex.split(line)
        assert arguments[0] == "curl"
        body = json.loads(arguments[arguments.index("-d") + 1])
        url = next(argument for argument in arguments if argument.startswith("http://"))
        header = arguments[arguments.index("-H") + 1].partition(": ")
        async with daemon.session.post(url, data=json.dumps(body), headers={header[0]: header[2]}) as response:
            assert response.status == 200
            assert (await response.json())["choices"][0]["message"]["content"] == "Hello from it's a model"


async def test_the_curl_line_of_a_gateway_with_a_key(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", general_settings=f"{{master_key: {KEY}}}"))
    file.chmod(0o600)
    async with Daemon(file) as daemon:
        line = await daemon.logged("  curl ")
        assert '-H "authorization: Bearer $GATEWAYD_API_KEY"' in line
        assert not any(KEY in text for text in daemon.log)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_litellms_variable_asks_for_a_key_through_every_edit(workers: str, tmp_path: Path) -> None:
    """U-A2: LITELLM_MASTER_KEY counts while the file has no master_key; the start says where it is from."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    file.chmod(0o600)
    mine = "sk-file-0123456789abcdef"
    with_key = config("a", general_settings=f"{{master_key: {mine}}}")
    async with Daemon(file, "--workers", workers, environ={"LITELLM_MASTER_KEY": KEY}) as daemon:
        assert "from the environment variable LITELLM_MASTER_KEY" in await daemon.logged("  key ")
        assert '-H "authorization: Bearer $LITELLM_MASTER_KEY"' in await daemon.logged("  curl ")
        for text, right, wrong in ((None, KEY, mine), (with_key, mine, KEY), (config("a"), KEY, mine)):
            if text is not None:
                assert (await daemon.edit(text))["result"] == "applied"
            assert (await daemon.chat("a"))[0] == 401
            assert (await daemon.chat("a", key=wrong))[0] == 401
            assert (await daemon.chat("a", key=right))[0] == 200
        assert not any(KEY in line for line in daemon.log)


async def test_the_search_for_a_file(tmp_path: Path) -> None:
    """--config, then $GATEWAYD_CONFIG, then the working directory, then $XDG_CONFIG_HOME."""
    places = {
        "flag": tmp_path / "flag.yaml",
        "variable": tmp_path / "variable.yaml",
        "here": tmp_path / "here" / "gatewayd.yaml",
        "home": tmp_path / "home" / "gatewayd" / "gatewayd.yaml",
    }
    for name, place in places.items():
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_text(config(name))
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    variable = {**home, "GATEWAYD_CONFIG": str(places["variable"])}
    here, elsewhere = tmp_path / "here", tmp_path

    async def found(file: Path | None, environ: dict[str, str], cwd: Path) -> str:
        async with Daemon(file, environ=environ, cwd=cwd) as daemon:
            return (await daemon.logged("  models  ")).split()[-1]

    assert await found(places["flag"], variable, here) == "flag"
    assert await found(None, variable, here) == "variable"
    assert await found(None, home, here) == "here"
    assert await found(None, home, elsewhere) == "home"


async def test_without_a_file_the_providers_keys_are_enough(tmp_path: Path) -> None:
    """And it says so; the key is in none of its lines."""
    environ = {"OPENAI_API_KEY": "sk-canary-0123456789", "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    async with Daemon(None, "--port", "0", environ=environ, cwd=tmp_path, wait=False) as daemon:
        line = await daemon.logged("(the process ended)", "  models  ")
        if line.startswith("  models"):
            assert "provider keys in the environment" in daemon.log[0]
            async with daemon.session.get(f"{daemon.data}/models") as response:
                listed = [model["id"] for model in (await response.json())["data"]]
                # U-C10: the models behind `openai/*`.
                assert "gpt-4o" in listed
                assert "openai/*" not in listed
        else:  # the admin listener's port is fixed without a file, and somebody else has it
            assert any("listen_failed" in line for line in daemon.log)
        assert not any("canary" in line for line in daemon.log)


async def test_nothing_to_start_from(tmp_path: Path) -> None:
    code, _, err = await command("run", environ={"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}, cwd=tmp_path)
    assert code == 78
    assert "no configuration file" in err
    assert "OPENAI_API_KEY" in err


async def test_unix_sockets_for_both_sides(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own="listen: unix:data.sock\nadmin: unix:admin.sock"))
    async with Daemon(file) as daemon:
        assert daemon.data == f"unix:{tmp_path}/data.sock/v1"
        code, out, _ = await command("status", "-c", str(file))
        assert code == 0
        assert "\na\n" in out
        code, out, _ = await command("reload", "--wait", "--admin", f"unix:{tmp_path}/admin.sock")
        assert (code, out.startswith("unchanged")) == (0, True)
        assert os.stat(tmp_path / "data.sock").st_mode & 0o007 == 0
    assert (tmp_path / "data.sock").exists()  # it was killed
    async with Daemon(file):  # F-04: what a dead daemon left behind is in nobody's way
        pass


async def test_without_an_admin_listener(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own="listen: 127.0.0.1:0\nadmin: off"))
    async with Daemon(file) as daemon:
        assert daemon.admin == "off"
        assert await daemon.chat("a") == (200, "Hello from a")
    code, _, err = await command("status", "-c", str(file))
    assert code == 69
    assert "admin: off" in err


async def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own="listen: 127.0.0.1:0\nadmin: off\nlog: {format: json}"))
    async with Daemon(file, wait=False) as daemon:
        line = json.loads(await daemon.logged('"serving"'))
        assert line["config"] == str(file)
        assert line["listen"][0].startswith("http://127.0.0.1:")
        for text in daemon.log:
            json.loads(text)


async def test_a_closed_stderr_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    """F-09"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own=f"listen: unix:{tmp_path}/data.sock\nadmin: unix:{tmp_path}/admin.sock"))
    async with Daemon(file) as daemon:
        daemon.close_stderr()
        code, out, _ = await command("reload", "--wait", "-c", str(file))
        assert (code, out.startswith("unchanged")) == (0, True)
        assert daemon.alive


async def test_a_model_that_must_be_translated_does_not_load_litellm_for_check(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(
        "model_list: [{model_name: c, litellm_params: {model: cohere_chat/command-r, api_key: sk-x-0123456789}}]"
    )
    file.chmod(0o600)
    code, out, err = await command("check", str(file), environ={"PYTHONPROFILEIMPORTTIME": "1"})
    assert code == 0, out
    assert "litellm" not in {line.rpartition("|")[2].strip() for line in err.splitlines()}


async def test_invalid_entries_are_left_out_if_that_is_asked_for(tmp_path: Path) -> None:
    """U-D6: at the start and on a reload, and everybody is told."""
    file = tmp_path / "gatewayd.yaml"
    good = "model_list:\n- {model_name: a, litellm_params: {model: openai/a, mock_response: Hello}}\n"
    own = "gatewayd: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
    unset = "- {{model_name: {0}, litellm_params: {{model: openai/b, api_key: os.environ/NOT_SET}}}}\n"
    file.write_text(good + unset.format("b") + own)
    code, err = await refused("-c", str(file))
    assert code == 78
    assert "on_invalid_deployment: skip" in err
    code, out, _ = await command("check", "--on-invalid-deployment", "skip", str(file))
    assert (code, "1 left out" in out) == (0, True)
    async with Daemon(file, "--on-invalid-deployment", "skip") as daemon:
        await daemon.logged("is left out: the environment variable NOT_SET is not set")
        assert await daemon.chat("a") == (200, "Hello")
        status, answer = await daemon.chat("b")
        assert (status, "is not served" in answer["error"]["message"]) == (404, True)
        assert [entry["group"] for entry in (await daemon.status())["left_out"]] == ["b"]
        file.write_text(good + unset.format("c") + own)

        async def is_live() -> bool:
            return [entry["group"] for entry in (await daemon.status())["left_out"]] == ["c"]

        await eventually(is_live)
