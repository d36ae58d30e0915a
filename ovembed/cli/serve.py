from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from ovembed.batches import DEFAULT_BATCH_TOKENS
from ovembed.cli.options import ConfigOpt, QuietOpt, RepositoryOpt, StreamsOpt, ThreadsOpt, option
from ovembed.cli.output import Talk


def serve(
    repository: RepositoryOpt = Path("models"),
    config: ConfigOpt = None,
    model: Annotated[
        list[str] | None, option("--model", "-m", help="Model to serve; may be repeated.", show_default="all")
    ] = None,
    host: Annotated[str, option("--host", help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")] = 8090,
    max_batch_tokens: Annotated[
        int, option("--max-batch-tokens", min=1, help="Padded tokens of a batch; more delays short texts.")
    ] = DEFAULT_BATCH_TOKENS,
    max_queued_tokens: Annotated[
        int, option("--max-queued-tokens", min=1, help="Tokens that may wait; above, clients get 429.")
    ] = 1_000_000,
    max_body_bytes: Annotated[int, option("--max-body-bytes", min=1, help="Largest request body.")] = 64 * 1024 * 1024,
    streams: StreamsOpt = None,
    threads: ThreadsOpt = None,
    inference_precision: Annotated[
        Literal["f32", "bf16"],
        option("--inference-precision", help="bf16 speeds up fp32 models on CPUs that have it, and rounds."),
    ] = "f32",
    grace: Annotated[int, option("--grace", min=0, help="Seconds that requests may go on once told to stop.")] = 30,
    url_file: Annotated[
        Path | None, option("--url-file", help="Write the server's URL there when it is ready.")
    ] = None,
    quiet: QuietOpt = False,
) -> None:
    """Serve models over HTTP, as OpenAI and OVMS do."""
    from ovembed.engine import EngineSettings, default_cache_dir
    from ovembed.errors import ModelNotFound
    from ovembed.repository import ModelRepository
    from ovembed.repository.files import replace_file
    from ovembed.server.run import ServeSettings
    from ovembed.server.run import serve as run_server

    models = ModelRepository(repository, config)
    entries = [models.get(name) for name in dict.fromkeys(model)] if model else models.models()
    if not entries:
        raise ModelNotFound(f"{repository}/ holds no model. Export one first: ovembed export SOURCE")
    engine = EngineSettings(streams, threads, inference_precision, default_cache_dir())
    settings = ServeSettings(host, port, max_batch_tokens, max_queued_tokens, max_body_bytes, grace, engine)
    talk = Talk(quiet=quiet)
    if url_file is not None:
        _forget_old_url(url_file)

    def announce(url: str) -> None:
        used_streams, used_threads = engine.resolve()
        for entry in entries:
            spec = entry.spec
            talk.say(
                f"{entry.name}: {spec.precision}, {spec.pooling} pooling, up to {spec.max_tokens} tokens, "
                f"{spec.dimensions} dimensions, fingerprint {spec.fingerprint}"
            )
        talk.say(f"Serving on {url} ({used_streams} streams on {used_threads} threads). Stop with Ctrl-C.", "bold")
        if url_file is not None:
            with _writing(url_file):
                replace_file(url_file, url + "\n")

    with talk.console.status("Loading …") as loading:

        def ready(url: str) -> None:
            loading.stop()
            announce(url)

        run_server(entries, settings, on_ready=ready)
    talk.say("Stopped.")


def _forget_old_url(url_file: Path) -> None:
    """Whoever waits for the file must not find the one of an earlier server."""
    with _writing(url_file):
        if not url_file.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        url_file.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(url_file: Path) -> Iterator[None]:
    from ovembed.errors import InputError

    try:
        yield
    except OSError as error:
        raise InputError(f"{url_file} cannot be written ({error.strerror}). Check --url-file.") from error
