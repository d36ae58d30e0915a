"""The export libraries talk a lot, on stdout too. Their words are kept off the terminal unless asked for."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Switched off before the libraries are imported; nothing of ours phones home.
_ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "true"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, log lines, progress bars or telemetry of torch, transformers, optimum, nncf and openvino."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
