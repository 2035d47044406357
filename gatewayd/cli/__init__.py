"""The command line: from flags to one call. Every command has its own module, which is imported only when it runs.

This module must stay fast to import: no asyncio, no aiohttp, no pydantic, no litellm.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from gatewayd.cli import exits
from gatewayd.cli.parser import Parser
from gatewayd.cli.signals import EarlySignals
from gatewayd.cli.streams import fill_standard_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Before anything slow: a SIGHUP must never kill the daemon, however early it comes.
    early = EarlySignals() if arguments[:1] == ["run"] else None
    fill_standard_streams()
    parser = make_parser()
    options = parser.parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # without an arrow in the locale: print an escape, not a traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    path: str | None = getattr(options, "path", None)
    config: str | None = getattr(options, "config", None)
    if path and config:
        parser.commands[options.command].error(f"PATH and --config both name the file: {path} and {config}")
    file = path or config
    try:
        match options.command:
            case "run":
                from gatewayd.cli import run

                return run.run(
                    file,
                    host=options.host,
                    port=options.port,
                    admin=options.admin,
                    workers=options.workers,
                    early=early or EarlySignals(),
                    last_good=options.last_good,
                    on_invalid_deployment=options.on_invalid_deployment,
                )
            case "check":
                from gatewayd.cli import check

                return check.check(
                    file,
                    form=options.format,
                    strict=options.strict,
                    on_invalid_deployment=options.on_invalid_deployment,
                )
            case "reload":
                from gatewayd.cli import remote

                return remote.reload(options.admin, file, wait=options.wait)
            case "status":
                from gatewayd.cli import remote

                return remote.status(options.admin, file, form=options.format)
            case "schema":
                from gatewayd.cli import check

                return check.schema()
            case "version":
                return _version()
            case "help" if options.topic is not None:
                parser.parse([options.topic, "--help"])
                return exits.OK
            case _:
                if options.version:
                    return _version()
                parser.print_help()
                return exits.OK
    except BrokenPipeError:  # `gatewayd schema | head`: the reader has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def make_parser() -> Parser:
    parser = Parser(prog="gatewayd", description="A local OpenAI-compatible LLM gateway: one YAML file, edited live.")
    parser.add_argument("--version", action="store_true", help="print versions, as the command `version` does")
    commands = parser.add_commands()

    config = Parser(add_help=False)
    config.add_argument(
        "-c",
        "--config",
        metavar="PATH",
        type=_path,
        help="the configuration file (default: $GATEWAYD_CONFIG, ./gatewayd.yaml, "
        "$XDG_CONFIG_HOME/gatewayd/gatewayd.yaml, /etc/gatewayd/gatewayd.yaml)",
    )
    config.add_argument("path", nargs="?", metavar="PATH", type=_path, help="the same as --config PATH")
    admin = Parser(add_help=False, parents=[config])
    admin.add_argument(
        "--admin",
        metavar="URL",
        help="the daemon's admin listener, http://HOST:PORT or unix:/PATH (default: $GATEWAYD_ADMIN, else as the file "
        "says)",
    )

    run = commands.add_parser("run", parents=[config], help="run the daemon in the foreground")
    run.add_argument("--host", help="listen on this host instead of the file's")
    run.add_argument("--port", type=_port, help="listen on this port; 0: any free port")
    run.add_argument(
        "--admin",
        metavar="ADDR",
        type=_address,
        help="use this admin listener instead of the file's: HOST:PORT, unix:/PATH or off",
    )
    run.add_argument(
        "--last-good",
        action="store_true",
        help="keep a copy of what goes live (references, no secrets; in $STATE_DIRECTORY, else "
        "$XDG_STATE_HOME/gatewayd), and start from it when the file is refused",
    )

    run.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="answer requests in N processes on the same addresses (default: 1)",
    )

    check = commands.add_parser(
        "check", parents=[config], help="print every problem of a configuration file (`-`: standard input)"
    )
    check.add_argument("--format", choices=("text", "json", "github"), default="text")
    check.add_argument("--strict", action="store_true", help="fail on warnings too")

    for command in (run, check):
        command.add_argument(
            "--on-invalid-deployment",
            choices=("refuse", "skip"),
            help="skip invalid entries of model_list and serve the rest (default: the file's setting, else refuse)",
        )

    reload = commands.add_parser("reload", parents=[admin], help="ask the running daemon to read its file again")
    reload.add_argument("--wait", action="store_true", help="wait for the outcome and print it")

    status = commands.add_parser("status", parents=[admin], help="show what the running daemon serves, and how well")
    status.add_argument("--format", choices=("text", "json"), default="text")

    commands.add_parser("schema", help="print the JSON Schema of the configuration file, for editors")
    commands.add_parser("version", help="print the versions of gatewayd, Python and the main packages")
    about = commands.add_parser("help", help="print the help of a command")
    about.add_argument("topic", nargs="?", metavar="COMMAND", help="the command (default: all of them)")
    return parser


def _path(text: str) -> str:
    if not text:  # `--config "$CONFIG"` without such a variable
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _address(text: str) -> str:
    from gatewayd.config.schema.address import parse_address

    if text == "off":
        return text
    try:
        place = parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; or off") from None
    return f"unix:{os.path.abspath(place.path)}" if place.path else str(place)


def _port(text: str) -> int:
    return _number(text, 0, 65535)


def _count(text: str) -> int:
    return _number(text, 1, 256)


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}, not {text!r}")
    return int(text)


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    from gatewayd._version import __version__

    lines = [f"gatewayd {__version__}", f"python {python_version()}"]
    for package in ("aiohttp", "litellm"):  # from the installed metadata, without importing them
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} not installed")
    sys.stdout.write("\n".join(lines) + "\n")
    return exits.OK
