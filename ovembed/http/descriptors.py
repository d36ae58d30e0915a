"""How many files this process may have open: every connection is one."""

from __future__ import annotations

import errno
import logging
import os
import resource
import time

from ovembed.errors import ServerError

_LOG = logging.getLogger(__name__)

# A server that loads several models and has a few connections.
_LEAST = 64

_TELL_EVERY_S = 10.0

_NONE_LEFT = {errno.EMFILE, errno.ENFILE}


def lift_limit() -> None:
    """To what the system allows, which gives many programs 1024 unless they ask for more.

    Raises ServerError when that is too little for any server.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < _LEAST:
        raise ServerError(
            f"Only {most} files may be open at once here, and each connection is one. Raise the limit, to {_LEAST} at "
            "least: ulimit -n"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Shortage:
    """Nothing else tells of connections that there is no descriptor for: the event loop hangs up on them."""

    def __init__(self) -> None:
        self._told_at = -_TELL_EVERY_S

    def look(self) -> None:
        """Log it when the last descriptor has been taken."""
        try:
            os.close(os.dup(0))
        except OSError as error:
            if error.errno in _NONE_LEFT:
                self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            _LOG.warning(
                "All %d files that this process may open are open: new connections are closed until others end. "
                "Raise the limit (ulimit -Hn), or let clients share connections.",
                allowed,
            )
