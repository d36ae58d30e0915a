"""Log lines on stderr, for people or for machines."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

_OURS = logging.getLogger("ovembed")
_ACCESS = logging.getLogger("ovembed.access")


def configure(style: Literal["text", "json"], *, access_log: bool) -> None:
    """Set up this process's logging: warnings of everybody, events of ours, each request if `access_log` is set."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine() if style == "json" else _TextLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    _OURS.setLevel(logging.INFO)
    _ACCESS.setLevel(logging.INFO if access_log else logging.WARNING)


def are_json() -> bool:
    """Whether this process writes its log for machines."""
    return any(isinstance(handler.formatter, _JsonLine) for handler in logging.root.handlers)


def access(**fields: Any) -> None:
    """Log one request: what it was and how it ended, nothing of what it said."""
    if _ACCESS.isEnabledFor(logging.INFO):
        fields["took_s"] = round(fields["took_s"], 6)
        _ACCESS.info(" ".join(f"{name}={value}" for name, value in fields.items()), extra={"fields": fields})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _TextLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        return f"{_time(record)} {record.levelname} {record.name}: {record.message}"


class _JsonLine(logging.Formatter):
    """One object on each line; an access line has its fields in place of a message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": _time(record), "level": record.levelname, "logger": record.name}
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
