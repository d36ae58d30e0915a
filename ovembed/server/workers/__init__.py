"""One server of several processes: they share its port, its cores and its answers about itself."""

from ovembed.server.workers.supervisor import supervise

__all__ = ["supervise"]
