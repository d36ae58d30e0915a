"""How much to send at once, by how long the replies take: a slow server gets little, so that little is lost with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.remote.limits import Limits
    from ovembed.remote.settings import RemoteSettings


class Pace:
    """Of one endpoint, which nobody knows at first. A request grows to twice the one before at most."""

    def __init__(self, settings: RemoteSettings, full: Limits) -> None:
        self._full = full
        self._reply_s = settings.reply_s
        self._share = min(1.0, settings.first_texts / full.texts)

    def within(self, limits: Limits) -> Limits:
        """The part of the limits that is to be sent now."""
        return replace(
            limits,
            texts=max(1, min(limits.texts, round(self._full.texts * self._share))),
            characters=min(limits.characters, round(self._full.characters * self._share)),
        )

    def note(self, texts: Sequence[str], seconds: float) -> None:
        """So long it took until they were answered, or until nobody waited any more."""
        sent = max(len(texts) / self._full.texts, sum(map(len, texts)) / self._full.characters)
        due = sent * self._reply_s / seconds
        if seconds <= self._reply_s:
            self._share = max(self._share, min(due, 2 * sent, 1.0))
        elif sent > self._share / 2:  # a few texts, as those at an end, may have waited for other requests
            self._share = min(self._share, due)
