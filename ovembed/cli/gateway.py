from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from ovembed.cli import url_file as urls
from ovembed.cli.options import (
    ACCESS_GROUP,
    LIMITS_GROUP,
    LOGS_GROUP,
    ApiKeyFileOpt,
    BodyTimeoutOpt,
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
from ovembed.cli.output import server_talk

_BACKEND = "Backend"


def gateway(
    component: Annotated[
        str,
        option(
            "--component",
            also=["EMBEDDING_COMPONENT_NAME"],
            help="OPEA_TEI_EMBEDDING, OPEA_OVMS_EMBEDDING, or local: the engine in this process.",
        ),
    ] = "OPEA_TEI_EMBEDDING",
    model: Annotated[
        str | None,
        option(
            "--model",
            "-m",
            also=["MODEL_ID"],
            help="Its name at the backend, or in the repository.",
            show_default="the only one; OVMS must be told",
        ),
    ] = None,
    host: Annotated[str, option("--host", help="Address to listen on.")] = "0.0.0.0",  # noqa: S104  as the original
    port: Annotated[int, option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")] = 6000,
    url_file: UrlFileOpt = None,
    ovms_embedding_endpoint: Annotated[
        str,
        option("--ovms-embedding-endpoint", also=["OVMS_EMBEDDING_ENDPOINT"], help="OVMS.", rich_help_panel=_BACKEND),
    ] = "http://localhost:8080",
    tei_embedding_endpoint: Annotated[
        str, option("--tei-embedding-endpoint", also=["TEI_EMBEDDING_ENDPOINT"], help="TEI.", rich_help_panel=_BACKEND)
    ] = "http://localhost:8080",
    backend_key: Annotated[
        str | None,
        option("--backend-key", help="Bearer key for the backend.", show_default=False, rich_help_panel=_BACKEND),
    ] = None,
    hf_token: Annotated[
        str | None,
        option(
            "--hf-token",
            also=["HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN"],
            help="The same, for TEI only.",
            show_default=False,
            rich_help_panel=_BACKEND,
        ),
    ] = None,
    token_url: Annotated[
        str | None,
        option(
            "--token-url",
            also=["TOKEN_URL"],
            help="Where to get OAuth tokens for the backend.",
            show_default=False,
            rich_help_panel=_BACKEND,
        ),
    ] = None,
    client_id: Annotated[
        str | None,
        option("--client-id", also=["CLIENTID"], help="OAuth client.", show_default=False, rich_help_panel=_BACKEND),
    ] = None,
    client_secret: Annotated[
        str | None,
        option(
            "--client-secret",
            also=["CLIENT_SECRET"],
            help="Its secret; others can read a command line, so better by CLIENT_SECRET.",
            show_default=False,
            rich_help_panel=_BACKEND,
        ),
    ] = None,
    trust_token_ids: Annotated[
        bool,
        option(
            "--trust-token-ids",
            help="Send token ids to OVMS without a check whether it embeds them right.",
            rich_help_panel=_BACKEND,
        ),
    ] = False,
    retries: Annotated[
        int,
        option("--retries", min=0, help="Further tries when the backend did no work.", rich_help_panel=_BACKEND),
    ] = 2,
    max_at_once: Annotated[
        int,
        option(
            "--max-at-once",
            min=1,
            help="Requests at the backend at once; above, clients get 429.",
            rich_help_panel=LIMITS_GROUP,
        ),
    ] = 256,
    max_body_bytes: MaxBodyBytesOpt = 16 * 1024 * 1024,
    timeout: RequestTimeoutOpt = 300,
    body_timeout: BodyTimeoutOpt = 20,
    grace: GraceOpt = 30,
    repository: RepositoryOpt = Path("models"),
    streams: StreamsOpt = None,
    threads: ThreadsOpt = None,
    api_key_file: ApiKeyFileOpt = None,
    cors_origin: Annotated[
        list[str],
        option(
            "--cors-origin",
            help="Let web pages of this origin ask; may be repeated; * is all.",
            rich_help_panel=ACCESS_GROUP,
        ),
    ] = ["*"],  # noqa: B006  typer copies it
    access_log: Annotated[
        bool,
        option(
            "--access-log",
            also=["LOGFLAG"],
            help="Log each request, without its text and key.",
            rich_help_panel=LOGS_GROUP,
        ),
    ] = False,
    log_format: LogFormatOpt = "text",
    quiet: QuietOpt = False,
) -> None:
    """Serve as the OPEA embedding microservice.

    In front of OVMS or TEI, or by itself.

    The environment variables of the original count too: EMBEDDING_COMPONENT_NAME, MODEL_ID, OVMS_EMBEDDING_ENDPOINT,
    TEI_EMBEDDING_ENDPOINT, TOKEN_URL, CLIENTID, CLIENT_SECRET, HF_TOKEN, LOGFLAG.
    """
    from ovembed.gateway.components import BackendSettings, ignored_variables, open_backend
    from ovembed.gateway.metrics import Metrics
    from ovembed.gateway.oauth import credentials
    from ovembed.gateway.run import serve
    from ovembed.gateway.settings import GatewaySettings
    from ovembed.gateway.upstream import UpstreamSettings
    from ovembed.http import logs
    from ovembed.http.requests import Limits

    backend_settings = BackendSettings(
        component=component,
        ovms_endpoint=ovms_embedding_endpoint,
        tei_endpoint=tei_embedding_endpoint,
        model=model,
        key=backend_key,
        hf_token=hf_token,
        credentials=credentials(token_url, client_id, client_secret),
        trust_token_ids=trust_token_ids,
        upstream=UpstreamSettings(max_at_once=max_at_once, timeout_s=timeout, retries=retries),
        repository=repository,
        streams=streams,
        threads=threads,
    )
    settings = GatewaySettings(
        host=host,
        port=port,
        limits=Limits(body_bytes=max_body_bytes, body_s=body_timeout, request_s=timeout),
        grace_s=grace,
        api_key_file=api_key_file,
        cors_origins=tuple(cors_origin),
    )
    logs.configure(log_format, access_log=access_log)
    talk = server_talk(log_format, quiet=quiet)
    if url_file is not None:
        urls.forget(url_file)
    for ignored in ignored_variables(os.environ):
        talk.say(ignored)
    metrics = Metrics()
    backend = open_backend(backend_settings, metrics)

    def announce(url: str) -> None:
        talk.say(f"Gateway to {backend.about} on {url}. Stop with Ctrl-C.", "bold")
        if url_file is not None:
            urls.write(url_file, url)

    serve(backend, metrics, settings, on_ready=announce, on_backend=talk.say)
    talk.say("Stopped.")
