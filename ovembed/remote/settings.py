"""How hard endpoints are asked, and for how long one that is busy or gone is waited for."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """`concurrency` requests are on their way at once, over all endpoints.

    The first ones hold `first_texts`, later ones more as long as replies take less than `reply_s`, and fewer where they
    take longer: that much work is lost with a reply.

    A request that fails for a reason that may pass is sent again `retries` times, after pauses that double from
    `first_pause_s` to `longest_pause_s`; one that an endpoint asks for (Retry-After) counts if it is longer, and ends
    the job if it is longer than `longest_pause_s` and no other endpoint is there before. `timeout_s` is for each reply.
    """

    concurrency: int = 4
    retries: int = 8
    timeout_s: float = 120.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
    first_texts: int = 64
    reply_s: float = 2.0

    def pause_s(self, failures: int, asked_s: float | None = None) -> float:
        """How long to leave an endpoint alone after so many failures in a row, the first being 1.

        A random half of it keeps clients that failed together from coming back together.
        """
        longest = min(self.first_pause_s * 2 ** (failures - 1), self.longest_pause_s)
        return max(asked_s or 0.0, random.uniform(longest / 2, longest))  # noqa: S311  nothing secret about it
