from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer  # noqa: TC002  typer reads the annotations

from ovembed.cli import backends
from ovembed.cli import url_file as urls
from ovembed.cli.backends import (
    BackendOpt,
    BinaryOpt,
    Choices,
    DetachOpt,
    EngineOpt,
    GpuOpt,
    ImageOpt,
    NameOpt,
    NpuOpt,
    WaitOpt,
)
from ovembed.cli.options import (
    ACCESS_GROUP,
    LIMITS_GROUP,
    LOGS_GROUP,
    WORK_GROUP,
    ApiKeyFileOpt,
    BodyTimeoutOpt,
    ConfigOpt,
    GraceOpt,
    LogFormatOpt,
    MaxBodyBytesOpt,
    QuietOpt,
    RepositoryOpt,
    RequestTimeoutOpt,
    StreamsOpt,
    ThreadsOpt,
    UrlFileOpt,
    option,
)
from ovembed.cli.output import Talk, server_talk

if TYPE_CHECKING:
    from ovembed.engine import EngineSettings
    from ovembed.repository import ModelEntry


def serve(
    context: typer.Context,
    repository: RepositoryOpt = Path("models"),
    config: ConfigOpt = None,
    model: Annotated[
        list[str] | None, option("--model", "-m", help="Model to serve; may be repeated.", show_default="all")
    ] = None,
    host: Annotated[str, option("--host", help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")] = 8090,
    url_file: UrlFileOpt = None,
    backend: BackendOpt = "local",
    detach: DetachOpt = False,
    wait: WaitOpt = 60,
    container_name: NameOpt = None,
    image: ImageOpt = None,
    engine: EngineOpt = "docker",
    gpu: GpuOpt = False,
    npu: NpuOpt = False,
    ovms_binary: BinaryOpt = None,
    streams: StreamsOpt = None,
    threads: ThreadsOpt = None,
    inference_precision: Annotated[
        Literal["f32", "bf16"],
        option(
            "--inference-precision",
            help="bf16 speeds up fp32 models on CPUs that have it, and rounds.",
            rich_help_panel=WORK_GROUP,
        ),
    ] = "f32",
    max_batch_tokens: Annotated[
        int | None,
        option(
            "--max-batch-tokens",
            min=1,
            help="Tokens of a batch, with padding; more delays short texts.",
            show_default="256 for each thread of a stream",
            rich_help_panel=WORK_GROUP,
        ),
    ] = None,
    low_latency: Annotated[
        bool,
        option(
            "--low-latency/--no-low-latency",
            help="Give a request that comes alone all threads, for twice the model's memory.",
            rich_help_panel=WORK_GROUP,
        ),
    ] = True,
    tune: Annotated[
        bool,
        option(
            "--tune",
            help="First try which streams and batches are fastest here, and keep them beside the model.",
            rich_help_panel=WORK_GROUP,
        ),
    ] = False,
    max_queued_tokens: Annotated[
        int | None,
        option(
            "--max-queued-tokens",
            min=1,
            help="Tokens that may wait for a model, split evenly among --workers; above, clients get 429, or 413 for "
            "a request that has more by itself.",
            show_default="1000000, or 300000 for each worker",
            rich_help_panel=LIMITS_GROUP,
        ),
    ] = None,
    max_body_bytes: MaxBodyBytesOpt = 16 * 1024 * 1024,
    timeout: RequestTimeoutOpt = 300,
    body_timeout: BodyTimeoutOpt = 20,
    grace: GraceOpt = 30,
    api_key_file: ApiKeyFileOpt = None,
    tls_cert: Annotated[
        Path | None,
        option(
            "--tls-cert",
            help="Certificates (PEM): serve over TLS; read again when they change.",
            show_default=False,
            rich_help_panel=ACCESS_GROUP,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        option(
            "--tls-key",
            help="The certificate's key (PEM).",
            show_default="in --tls-cert",
            rich_help_panel=ACCESS_GROUP,
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        option(
            "--cors-origin",
            help="Let web pages of this origin ask; may be repeated; * is all.",
            show_default="none",
            rich_help_panel=ACCESS_GROUP,
        ),
    ] = None,
    workers: Annotated[
        int,
        option(
            "--workers",
            min=1,
            help="Processes that share port and cores; for hosts of many cores.",
            rich_help_panel=WORK_GROUP,
        ),
    ] = 1,
    access_log: Annotated[
        bool,
        option("--access-log", help="Log each request, without its text and key.", rich_help_panel=LOGS_GROUP),
    ] = False,
    log_format: LogFormatOpt = "text",
    quiet: QuietOpt = False,
) -> None:
    """Serve models over HTTP, as OpenAI and OVMS do."""
    from ovembed import cores
    from ovembed.engine import EngineSettings, default_cache_dir
    from ovembed.errors import InputError
    from ovembed.http import logs
    from ovembed.http.requests import Limits
    from ovembed.http.tls import Tls
    from ovembed.launch.backends import Served
    from ovembed.repository import ModelRepository
    from ovembed.server.run import serve as run_server
    from ovembed.server.selection import Selection
    from ovembed.server.settings import ServeSettings, default_queued_tokens
    from ovembed.serving.work import work_for

    if tls_key is not None and tls_cert is None:
        raise InputError("--tls-key needs the certificate it belongs to: --tls-cert FILE")
    choices = Choices(backend, detach, wait, container_name, image, engine, gpu, npu, ovms_binary)
    backends.check_options(context, choices)
    if choices.in_this_process:
        logs.configure(log_format, access_log=access_log)
    selection = Selection(ModelRepository(repository, config), tuple(model or ()))
    entries = selection.entries()
    origins = tuple(cors_origin or ())
    if not choices.in_this_process:
        backends.serve_elsewhere(
            context,
            choices,
            Served(entries, selection.config_path, host, port, bool(model), api_key_file, origins),
            Talk(quiet=quiet),
            url_file=url_file,
        )
        return
    talk = server_talk(log_format, quiet=quiet)
    engine_settings = EngineSettings(
        streams, threads, inference_precision, default_cache_dir(), map_weights=False, low_latency=low_latency
    )
    settings = ServeSettings(
        host=host,
        port=port,
        max_batch_tokens=max_batch_tokens,
        max_queued_tokens=max_queued_tokens or default_queued_tokens(workers),
        grace_s=grace,
        limits=Limits(max_body_bytes, body_timeout, timeout),
        api_key_file=api_key_file,
        tls=Tls(tls_cert, tls_key) if tls_cert else None,
        cors_origins=origins,
        engine=engine_settings,
        workers=workers,
        log_format=log_format,
        access_log=access_log,
    )
    if tune:
        if streams or threads or workers > 1:
            raise InputError("--tune finds streams for all cores: leave out --streams, --threads and --workers.")
        if max_batch_tokens:
            raise InputError("--tune finds the size of batches too: leave out --max-batch-tokens.")
        for entry in entries:
            _tune(talk, entry, engine_settings)
    if url_file is not None:
        urls.forget(url_file)

    def announce(url: str) -> None:
        share, *others = engine_settings.split(workers)
        alike = "each" if all(other == share for other in others) else "the largest"
        processes = f", in {alike} of {workers} workers" if others else ""
        for entry in entries:
            spec = entry.spec
            talk.say(
                f"{entry.name}: {spec.precision}, {spec.pooling} pooling, up to {spec.max_tokens} tokens, "
                f"{spec.dimensions} dimensions, fingerprint {spec.fingerprint}; "
                f"{work_for(entry, share, max_batch_tokens)}{processes}"
            )
        talk.say(f"Serving on {url} (allowed: {cores.find()}). Stop with Ctrl-C.", "bold")
        if url_file is not None:
            urls.write(url_file, url)

    with talk.console.status("Loading …") as loading:

        def ready(url: str) -> None:
            loading.stop()
            announce(url)

        run_server(selection, settings, on_ready=ready)
    talk.say("Stopped.")


def _tune(talk: Talk, entry: ModelEntry, settings: EngineSettings) -> None:
    from ovembed import cores
    from ovembed.bench.tune import Trial, tune
    from ovembed.repository import TUNING_FILE

    tried: list[Trial] = []
    with talk.console.status(f"Tuning {entry.name} …") as status:

        def note(trial: Trial) -> None:
            tried.append(trial)
            status.update(f"Tuning {entry.name} … {len(tried)} tried, the last with {trial.tokens_per_s:,.0f} tokens/s")

        best = tune(entry, settings, on_trial=note)
    rows = [
        [
            ("> " if trial.tuning == best else "  ") + str(trial.tuning.streams),
            str(trial.tuning.batch_tokens),
            f"{trial.tokens_per_s:,.0f}",
        ]
        for trial in tried
    ]
    talk.say(f"{entry.name} on {cores.describe_machine()}; the best (>) is kept in {entry.folder / TUNING_FILE}:")
    talk.table(["  Streams", "Tokens of a batch", "Tokens/s"], rows)
