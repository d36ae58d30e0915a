"""Files that a running server reads again when they have changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ovembed.errors import InputError
from ovembed.repository.files import stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovembed.repository.files import Stamp

_LOG = logging.getLogger(__name__)


class Watched:
    """`read` takes in what the files hold. Raising InputError, it leaves things as they were: a file that is being
    replaced must not end what works. `meanwhile` says in the log what then goes on.
    """

    def __init__(self, *files: Path, read: Callable[[], None], meanwhile: str) -> None:
        """The files have been read, or will be at once."""
        self._files = files
        self._read = read
        self._meanwhile = meanwhile
        self._known = self._stamps()
        self._told = ""

    def refresh(self) -> bool:
        """Whether something new was read. Files that cannot be used are tried again each time, for they may become so
        unchanged, and told of once.
        """
        found = self._stamps()
        if found == self._known:
            return False
        try:
            self._read()
        except InputError as error:
            if str(error) != self._told:
                _LOG.warning("%s %s", error, self._meanwhile)
            self._told = str(error)
            return False
        self._known, self._told = found, ""
        return True

    def _stamps(self) -> tuple[Stamp | None, ...]:
        return tuple(map(stamp, self._files))
