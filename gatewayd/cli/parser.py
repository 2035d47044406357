"""`argparse` without abbreviated flags, and with a suggestion for a mistyped name."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from gatewayd.suggest import nearest


class Parser(argparse.ArgumentParser):
    """A parser; its subcommands have parsers of this class too."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **{**named, "allow_abbrev": False})
        self.commands: dict[str, Parser] = {}
        """The subcommands, for the top-level parser."""

    def add_commands(self) -> argparse._SubParsersAction[Parser]:
        """Begins the list of subcommands."""
        found = self.add_subparsers(dest="command", metavar="COMMAND")
        self.commands = found.choices  # fills with each command that is added
        return found

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options; `command` is None without a command. Exits with status 2 on wrong usage."""
        first = next((argument for argument in arguments if not argument.startswith("-")), None)
        if first is not None and arguments[0] == first and first not in self.commands:
            self.error(f"there is no command {first!r}{_suggestion(first, self.commands)}")
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            used = self.commands.get(options.command, self)
            used.unknown(unknown)
        return options

    def unknown(self, arguments: Sequence[str]) -> NoReturn:
        """Exits because of unknown arguments."""
        flag = arguments[0].partition("=")[0]
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        meant = _suggestion(flag, known) if flag.startswith("--") else ""
        self.error(f"unrecognized arguments: {' '.join(arguments)}{meant}")


def _suggestion(name: str, known: Collection[str]) -> str:
    found = nearest(name, known)
    return f"; did you mean {found!r}?" if found is not None else ""
