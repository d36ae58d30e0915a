"""Which models are served, by the names clients call them, and what became of the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ovembed.errors import ModelNotFound, ModelRetired, ModelUnready, RequestError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ovembed.serving.models import ServedModel


class State(StrEnum):
    """The states of a model, by OVMS's names; UNLOADING answers what it had taken, and takes nothing more."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True, slots=True)
class Status:
    """`problem`: why a model that should be served is not; empty when all is well."""

    state: State
    problem: str = ""


class Catalog:
    """Belongs to the event loop: every method is to be called on it."""

    def __init__(self, models: Iterable[ServedModel] = ()) -> None:
        self._models: dict[str, ServedModel] = {}
        self._statuses: dict[str, Status] = {}
        self._users: Counter[int] = Counter()
        self._left = asyncio.Event()
        for model in models:
            self.put(model)

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """Those that take requests."""
        return self._models

    @property
    def statuses(self) -> Mapping[str, Status]:
        """Of all models that are, were, or should be served."""
        return self._statuses

    def named(self, name: str) -> ServedModel:
        """Raises ModelUnready for one that is being loaded, ModelNotFound, listing those there are, for no model."""
        if name in self._models:
            return self._models[name]
        status = self._statuses.get(name)
        has = ", ".join(self._models) or "none"
        if status is None:
            raise ModelNotFound(f"No model {quoted(name)} here; this server has: {has}.")
        if status.state is State.LOADING:
            raise ModelUnready(f"The model '{name}' is not loaded{_because(status.problem)}.")
        raise ModelRetired(f"The model '{name}' is no longer served; this server has: {has}.")

    def choose(self, name: str | None) -> ServedModel:
        """The only model need not be named. Raises RequestError when there are several."""
        if name is not None:
            return self.named(name)
        if not self._models:
            raise ModelUnready("No model is loaded.")
        if len(self._models) > 1:
            raise RequestError(f"'model' is missing; this server has: {', '.join(self._models)}.", param="model")
        return next(iter(self._models.values()))

    @contextmanager
    def using(self, model: ServedModel) -> Iterator[None]:
        """While a request is in this block, its model is not closed."""
        self._users[id(model)] += 1
        try:
            yield
        finally:
            self._users[id(model)] -= 1
            if not self._users[id(model)]:
                del self._users[id(model)]
                self._left.set()

    async def unused(self, model: ServedModel) -> None:
        """Wait until no request uses the model; one that is no longer in the catalog gets no new ones."""
        while id(model) in self._users:
            self._left.clear()
            await self._left.wait()

    def note(self, name: str, state: State, problem: str = "") -> None:
        """What has become of a model that takes no requests."""
        self._statuses[name] = Status(state, problem)

    def put(self, model: ServedModel) -> None:
        """From now on, requests go to this one."""
        self._models[model.name] = model
        self._statuses[model.name] = Status(State.AVAILABLE)

    def ended(self, name: str) -> None:
        """The last request of a model has been answered; another of its name may have come meanwhile."""
        if self._statuses[name].state is State.UNLOADING:
            self._statuses[name] = Status(State.END)

    def withdraw(self, name: str) -> ServedModel:
        """From now on, the model gets no requests."""
        self._statuses[name] = Status(State.UNLOADING)
        return self._models.pop(name)


def _because(problem: str) -> str:
    return f": {problem.removesuffix('.')}" if problem else " yet"
