"""The workers at work, asked as one, and what those that have ended had counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from ovembed.server.workers import merging
from ovembed.server.workers.channel import Gone, Unanswered
from ovembed.server.workers.questions import GetFamilies, GetOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from ovembed.server.reload import Outcome
    from ovembed.server.workers.questions import OfOne

# With a worker that does not answer what takes no time: less than those who ask for health or metrics have.
_PATIENCE_S = 2.0


class Member(Protocol):
    """A worker, which is asked once it has `listened`; `last_families` are those that it told last."""

    listened: bool
    last_families: list[Metric]

    async def ask(self, question: OfOne) -> Any:
        """Raises Gone or Unanswered."""

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Crew:
    """Of so many workers, by their numbers from 1 on; one that has ended is missing until the next takes its place."""

    def __init__(self, size: int) -> None:
        self._members: dict[int, Member | None] = dict.fromkeys(range(1, size + 1))
        self._counted: list[Metric] = []

    def __iter__(self) -> Iterator[Member]:
        return iter([member for member in self._members.values() if member is not None])

    def join(self, number: int, member: Member) -> None:
        self._members[number] = member

    def leave(self, number: int) -> None:
        """What it has counted never goes missing."""
        member, self._members[number] = self._members[number], None
        if member is not None:
            self._counted = merging.merge_families([self._counted, merging.counted(member.last_families)])

    async def ask(self, question: OfOne) -> list[Any]:
        """The answers, Gone for each that is missing; of metrics, what those had counted, and how many they are."""
        # Together, before anything is awaited: a worker that ends meanwhile must not be counted twice.
        members, counted = list(self._members.values()), self._counted
        answers = await asyncio.gather(*(_ask(member, question) for member in members))
        if not isinstance(question, GetFamilies):
            return answers
        silent = [member for member, answer in zip(members, answers, strict=True) if isinstance(answer, Gone)]
        last_told = [merging.counted(member.last_families) for member in silent if member is not None]
        told = [answer for answer in answers if not isinstance(answer, Gone)]
        return [*told, *last_told, counted, merging.missing(len(silent))]

    async def reload(self) -> Outcome:
        """The first worker before the others, which find its compiled models in the cache."""
        outcomes = [await _ask(self._members[1], GetOutcome())]
        others = list(self._members.values())[1:]
        outcomes += await asyncio.gather(*(_ask(member, GetOutcome()) for member in others))
        return merging.merge_outcomes([outcome for outcome in outcomes if not isinstance(outcome, Gone)])


async def _ask(member: Member | None, question: OfOne) -> Any:
    if member is None or not member.listened:
        return Gone()
    try:
        async with asyncio.timeout(None if isinstance(question, GetOutcome) else _PATIENCE_S):
            answer = await member.ask(question)
    except (Unanswered, TimeoutError):
        return Gone()
    if isinstance(question, GetFamilies):
        member.last_families = answer
    return answer
