"""The export libraries talk a lot, on stdout too. Their words are kept off the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Set before the libraries are imported: none of them phones home on our account.
_ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, log lines or progress bars of torch, transformers, optimum and nncf inside."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        _logging_disabled(),
        _transformers_silenced(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _logging_disabled() -> Iterator[None]:
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(previous)


@contextlib.contextmanager
def _transformers_silenced() -> Iterator[None]:
    """optimum switches logging back on midway, so transformers is told separately."""
    from transformers.utils import logging as chatter

    verbosity, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(verbosity)
        if bars:
            chatter.enable_progress_bar()
