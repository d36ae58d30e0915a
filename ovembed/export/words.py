"""The words of foreign errors, shortened to a line."""

from __future__ import annotations

import pickle

# OpenVINO says first where in its sources it was.
_PLACES = ("Exception from src/", "Check '")


def in_one_line(error: Exception) -> str:
    """What a library's error says first, or plain words for what it says at length."""
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in told if not line.startswith(_PLACES)] or told
    if isinstance(error, pickle.UnpicklingError):
        return "pytorch_model.bin is damaged, or holds more than weights. Download the model again."
    if "ignore_mismatched_sizes" in str(error):
        return "its weights have other shapes than its config.json says. Download the model again."
    if "trust_remote_code" in str(error):
        return "it brings code of its own. Read that code, and if you trust it add --trust-remote-code."
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
