"""Start, watch and stop a server."""

from ovembed.launch.health import Check, HealthReport, check_health, wait_healthy
from ovembed.launch.local import local_server

__all__ = ["Check", "HealthReport", "check_health", "local_server", "wait_healthy"]
