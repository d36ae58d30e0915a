"""How the gateway is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ovembed.http.requests import Limits

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`port` 0 takes a free one.

    grace_s: how long requests may go on after the gateway is told to stop.
    api_key_file: None lets everybody in. cors_origins: web pages of these may ask; "*" is all.
    """

    host: str = "0.0.0.0"  # noqa: S104  as the original
    port: int = 6000
    limits: Limits = field(default_factory=Limits)
    grace_s: float = 30
    api_key_file: Path | None = None
    cors_origins: tuple[str, ...] = ("*",)
