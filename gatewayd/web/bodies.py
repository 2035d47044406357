"""Request bodies in memory, all together: what many large ones at once may take is bounded (B-13)."""

from __future__ import annotations

from collections.abc import Callable

from gatewayd.errors import ServerBusy


class Bodies:
    """`held` are the bytes that have arrived of the bodies of requests under way.

    A body that came together with its head is counted and never refused: it is in memory already, and small. So short
    prompts are served while large ones have to wait.
    """

    __slots__ = ("_most", "held")

    def __init__(self, most: Callable[[], int]) -> None:
        """`most` is asked, in bytes, for every piece of a body that comes in pieces."""
        self.held = 0
        self._most = most

    def has_room(self, size: int) -> bool:
        """Whether one more piece may be held."""
        return self.held + size <= self._most()

    def admit(self, size: int) -> None:
        """Counts one more piece. Raises ServerBusy if it is one too many, and does not count it then."""
        if not self.has_room(size):
            raise ServerBusy(
                "The gateway is at its limit of memory for large request bodies; send this request again in a moment.",
                retry_after=1.0,
            )
        self.held += size
