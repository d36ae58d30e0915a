"""Which models of a repository a server is to serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import ConfigMissing, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from ovembed.repository import ModelEntry, ModelRepository


@dataclass(frozen=True, slots=True)
class Selection:
    """All models of the configuration file, or those `chosen`."""

    repository: ModelRepository
    chosen: tuple[str, ...] = ()

    @property
    def config_path(self) -> Path:
        return self.repository.config_path

    def entries(self) -> list[ModelEntry]:
        """Raises ModelNotFound when there is none, or one that was chosen is missing; RepositoryError."""
        names = tuple(dict.fromkeys(self.chosen)) or self.repository.names()
        if not names:
            raise ModelNotFound(f"{self.repository.folder}/ holds no model. Export one first: ovembed export SOURCE")
        return [self.repository.get(name) for name in names]

    def names(self, served: Collection[str]) -> list[str]:
        """Of the models to serve now, in the order of the configuration file.

        Graphs of other kinds are passed over. A folder that is not there is not one of them, nor is one that holds no
        model of ours any more and was `served`, or chosen. Raises ConfigMissing or ConfigInvalid.
        """
        listed = self.repository.listed()
        if not self.config_path.exists():
            raise ConfigMissing(f"{self.config_path} is missing.")
        if self.chosen:
            return [name for name in listed if name in self.chosen]
        ours = {*self.repository.names(), *self.repository.missing_names(), *served}
        return [name for name in listed if name in ours]

    def entry(self, name: str) -> ModelEntry:
        """Raises ModelNotFound or RepositoryError."""
        return self.repository.get(name)
