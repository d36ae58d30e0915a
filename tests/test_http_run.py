"""What a server process does around its requests."""

from __future__ import annotations

import json
import subprocess
import sys

# Answers itself once, with what a garbage collection looks at and what it passes over, and stops.
PROGRAM = """
import gc, signal, threading, urllib.request
from ovembed.http.guards import Traffic
from ovembed.http.run import run
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

def count(_):
    return JSONResponse({"looked at": len(gc.get_objects()), "passed over": gc.get_freeze_count()})

def ask(url):
    print(urllib.request.urlopen(url).read().decode())
    signal.raise_signal(signal.SIGTERM)

run(
    Starlette(routes=[Route("/", count)]), Traffic(), host="127.0.0.1", port=0, grace_s=1, patience_s=5,
    on_ready=lambda url: threading.Thread(target=ask, args=(url,)).start(),
)
"""


def test_garbage_collections_pass_over_what_was_there_before_the_first_request() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    counts = json.loads(done.stdout)
    assert 5 * counts["looked at"] < counts["passed over"]
