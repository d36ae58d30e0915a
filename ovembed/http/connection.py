"""Connections that their clients do not use are closed: they hold memory and a file descriptor. All speak HTTP/1."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ovembed.http.descriptors import Shortage
from ovembed.http.joining import Joining

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# More than a read of the socket may give, of which other requests may be a part.
_LARGEST_HEAD = 1 << 18

# By these, clients offer to go on in another protocol. Java's do with every request, for HTTP/2.
_OFFER = {b"upgrade", b"connection", b"http2-settings"}


class BoundedConnection(HttpToolsProtocol):
    """Closed when the head of a request does not arrive, nothing of a reply is read, or a body does not end that was
    refused before its end, within `patience_s`.

    For the time after the head see requests.Limits; between requests uvicorn's keep-alive limit counts.
    """

    patience_s = 20.0
    shortage = Shortage()
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _used_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast("Any", Joining(transport)))
        self._earlier: deque[RequestResponseCycle] = deque()
        self._used_at = self.loop.time()
        self._await_head()
        self.shortage.look()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._rest_timer, self._reader_timer):
            _cancel(timer)
        self._abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse("Invalid HTTP request received.")
        else:
            self._check_head(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        _cancel(self._head_timer)
        self._head_timer = None
        self._in_head = False
        self._head_bytes = 0
        if self.cycle is not None and not self.cycle.response_complete:
            self._earlier.append(self.cycle)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._used_at = self.loop.time()
        while self._earlier and self._earlier[0].response_complete:
            self._earlier.popleft()
        if self.cycle.response_complete and self.cycle.more_body:
            self._rest_timer = self.loop.call_later(self.patience_s, self.transport.close)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if self.cycle.response_complete:  # uvicorn counts the time to the next request from the reply, if at all
            _cancel(self._rest_timer)
            self._await_head()
        super().on_message_complete()

    def is_idle(self, for_s: float) -> bool:
        """Whether all that came is answered, and whoever opened the connection or got a reply has not used it since."""
        asked = self._head_bytes > 0 or (self.cycle is not None and not self.cycle.response_complete)
        return not asked and self.loop.time() - self._used_at >= for_s

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        _cancel(self._reader_timer)
        super().resume_writing()

    def _decline(self, rest: bytes) -> None:
        """Parse the head again without the offer: what follows it, `rest`, was taken for the other protocol."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse("This is no proxy.")
            return
        head = [b"%b %b HTTP/%b" % (method, self.url, version)]
        head += [b"%b: %b" % header for header in self.headers if header[0] not in _OFFER]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def _check_head(self, received: int) -> None:
        """Most heads come whole: they need no timer."""
        if not self._in_head:
            return
        if self._head_timer is None:
            self._await_head()
        self._head_bytes += received
        if self._head_bytes > _LARGEST_HEAD:
            self._refuse("The head of the request is too large.")

    def _refuse(self, why: str) -> None:
        self.logger.warning(why)
        self._abandon()
        self.send_400_response(why)

    def _abandon(self) -> None:
        """Nobody hears the replies any more; uvicorn tells it to the last of several requests, and somewhat later."""
        for cycle in (*self._earlier, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.patience_s, self.transport.close)

    def _await_reader(self, unread: int) -> None:
        self._reader_timer = self.loop.call_later(self.patience_s, self._check_reader, unread)

    def _check_reader(self, unread: int) -> None:
        """A slow reader is not one that has stopped."""
        left = self.transport.get_write_buffer_size()
        if left < unread:
            self._await_reader(left)
        else:
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def bounded(patience_s: float) -> type[asyncio.Protocol]:
    """The class of connections with this patience, as uvicorn wants it."""
    return type("BoundedConnection", (BoundedConnection,), {"patience_s": patience_s})
