"""Embedding through endpoints: which dialect they speak, what their answers mean, how the work is shared out."""

from ovembed.remote.embedder import RemoteEmbedder
from ovembed.remote.http import api_base, http_client, in_words, no_tls, translated
from ovembed.remote.settings import RemoteSettings

__all__ = ["RemoteEmbedder", "RemoteSettings", "api_base", "http_client", "in_words", "no_tls", "translated"]
