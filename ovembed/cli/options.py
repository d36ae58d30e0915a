"""Options that several commands share, written once. Every option has an environment variable OVEMBED_<OPTION>."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

WORK_GROUP, ENDPOINT_GROUP = "Work", "Endpoints"
LIMITS_GROUP, ACCESS_GROUP, LOGS_GROUP = "Limits", "Access", "Messages"


def option(*names: str, also: Sequence[str] = (), **settings: Any) -> Any:
    """A typer option whose environment variable follows from its first long name; `also` are further ones."""
    long_name = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "OVEMBED_" + long_name.removeprefix("--").replace("-", "_").upper()
    return typer.Option(*names, envvar=[variable, *also] if also else variable, show_envvar=False, **settings)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the parameter stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


RepositoryOpt = Annotated[Path, option("--repository", "-r", help="Folder of the exported models.")]
ConfigOpt = Annotated[
    Path | None,
    option(
        "--config",
        help="OVMS configuration file.",
        show_default="<repository>/config_embeddings.json",
    ),
]
ApiKeyOpt = Annotated[str | None, option("--api-key", help="Bearer key for the endpoint.", show_default=False)]
TargetOpt = Annotated[
    str | None,
    option("--model", "-m", help="Model in this process: a served name or a folder. With --url: its name there."),
]
UrlsOpt = Annotated[
    list[str] | None,
    option(
        "--url",
        help="Endpoint (ovembed, OVMS, TEI, OpenAI's API) instead; repeated, several share the work.",
    ),
]
ConcurrencyOpt = Annotated[
    int,
    option(
        "--concurrency",
        min=1,
        max=64,
        help="Requests under way at once, over all endpoints.",
        rich_help_panel=ENDPOINT_GROUP,
    ),
]
RetriesOpt = Annotated[
    int,
    option(
        "--retries",
        min=0,
        help="How often a request is sent again when an endpoint is busy or gone.",
        rich_help_panel=ENDPOINT_GROUP,
    ),
]
TimeoutOpt = Annotated[
    float, option("--timeout", min=0.1, help="Seconds to wait for each reply.", rich_help_panel=ENDPOINT_GROUP)
]
JsonOpt = Annotated[bool, option("--json", help="One JSON object on stdout instead of a table.")]
QuietOpt = Annotated[bool, option("--quiet", "-q", help="Only results and errors: no progress, no notes.")]
StreamsOpt = Annotated[
    int | None,
    option(
        "--streams",
        min=1,
        help="Batches that run at the same time.",
        show_default="by the number of threads",
        rich_help_panel=WORK_GROUP,
    ),
]
ThreadsOpt = Annotated[
    int | None,
    option(
        "--threads",
        min=1,
        help="Cores to use.",
        show_default="all that affinity and CPU quota allow",
        rich_help_panel=WORK_GROUP,
    ),
]
UrlFileOpt = Annotated[
    Path | None, option("--url-file", help="Write the server's URL there when it is ready.", show_default=False)
]
MaxBodyBytesOpt = Annotated[
    int, option("--max-body-bytes", min=1, help="Largest request body.", rich_help_panel=LIMITS_GROUP)
]
RequestTimeoutOpt = Annotated[
    float,
    option(
        "--timeout",
        min=0.001,
        help="Seconds that a request may take in all; then it gets 504 and is dropped.",
        rich_help_panel=LIMITS_GROUP,
    ),
]
BodyTimeoutOpt = Annotated[
    float,
    option(
        "--body-timeout",
        min=0.001,
        help="Seconds that a client may pause in sending (408) or reading.",
        rich_help_panel=LIMITS_GROUP,
    ),
]
GraceOpt = Annotated[
    float,
    option("--grace", min=0, help="Seconds that requests may go on once told to stop.", rich_help_panel=LIMITS_GROUP),
]
ApiKeyFileOpt = Annotated[
    Path | None,
    option(
        "--api-key-file",
        help="Bearer keys, one on each line; read again when it changes.",
        show_default="everybody may ask",
        rich_help_panel=ACCESS_GROUP,
    ),
]
LogFormatOpt = Annotated[
    Literal["text", "json"], option("--log-format", help="Form of log lines.", rich_help_panel=LOGS_GROUP)
]
