"""Start, watch and stop a server."""

from ovembed.launch.health import HealthReport, check_health, wait_healthy
from ovembed.launch.local import local_server
from ovembed.launch.probe import Check
from ovembed.launch.reference import Reference

__all__ = ["Check", "HealthReport", "Reference", "check_health", "local_server", "wait_healthy"]
