"""Where a generated text ends, when it comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Finds where a text ends, and holds back whatever could be the beginning of that."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""

    def feed(self, text: str) -> tuple[str, int | None]:
        """(what may be shown, how many characters of `text` were read when a stop was complete, or None).

        The stop that is complete first ends the text, whatever pieces the text came in; of two at once the longer one.
        """
        before, self._held = len(self._held), self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        if found:
            end, start = min(found)
            shown, self._held = self._held[:start], ""
            return shown, end - before
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, None

    def rest(self) -> str:
        """What was held back when the text ended for another reason."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that begins `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
