"""The server's description of itself: /openapi.json for machines, /docs for people."""

from ovembed.server.openapi.described import Described, Offer, Reply, Schema, about
from ovembed.server.openapi.document import document
from ovembed.server.openapi.routes import describe

__all__ = ["Described", "Offer", "Reply", "Schema", "about", "describe", "document"]
