"""A server as a container of docker or podman."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from ovembed.launch.engines import Engine, EngineName, NoSuchContainer

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Container:
    """Known by its id: another one may have its name later."""

    engine: EngineName
    id: str

    @classmethod
    def start(cls, engine: Engine, arguments: Sequence[str]) -> Self:
        """`docker run --detach ARGUMENTS`. Raises ServerError, and leaves nothing then."""
        made = cls(engine.name, engine.call("create", *arguments))
        try:
            engine.call("start", made.id)
        except BaseException:
            engine.call("rm", "--force", made.id)
            raise
        return made

    def running(self) -> bool:
        """False too while it is started again after it has ended. Raises ServerError when the engine is gone."""
        return self._inspect("{{.State.Status}}") == "running"

    def has_ended(self) -> bool:
        return self._inspect("{{.State.Status}} {{.RestartCount}}") != "running 0"

    def stop(self, grace_s: float) -> None:
        """Tell it to end, end it after `grace_s`, and remove it."""
        engine = Engine(self.engine)
        try:
            engine.call("stop", "-t", str(round(grace_s)), self.id)
            engine.call("rm", "--force", self.id)
        except NoSuchContainer:
            return

    def last_words(self, lines: int) -> str:
        return Engine(self.engine).logs(self.id, lines)

    def follow(self, output: IO[bytes]) -> None:
        Engine(self.engine).follow(self.id, output)

    def _inspect(self, template: str) -> str | None:
        """None for a container that is no more."""
        try:
            return Engine(self.engine).call("container", "inspect", "--format", template, self.id)
        except NoSuchContainer:
            return None
