from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovembed.cli.options import ApiKeyOpt, ConfigOpt, JsonOpt, QuietOpt, RepositoryOpt, option
from ovembed.cli.output import Talk, print_json, print_table, stdout_console

if TYPE_CHECKING:
    from ovembed.launch import HealthReport

_SIGNS = {True: "ok", False: "FAILED", None: "-"}
_SICK, _NOT_IN_TIME = 1, 3


def health(
    url: Annotated[str, typer.Argument(help="URL of the server.")] = "http://127.0.0.1:8090",
    model: Annotated[str | None, option("--model", "-m", help="Check this model only.", show_default="all")] = None,
    wait: Annotated[
        float | None, option("--wait", min=0, help="Ask again until it is healthy, for at most so many seconds.")
    ] = None,
    deep: Annotated[
        bool, option("--deep", help="Compare its vectors with those recorded when the model was exported.")
    ] = False,
    expect: Annotated[
        str | None,
        option("--expect", help="With --deep: the model's name in the repository.", show_default="the served one"),
    ] = None,
    repository: RepositoryOpt = Path("models"),
    config: ConfigOpt = None,
    api_key: ApiKeyOpt = None,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Tell whether a server really works.

    Exit code 0: healthy; 1: not; 3: not within --wait.
    """
    from rich.markup import escape

    from ovembed.launch import Reference, check_health, wait_healthy
    from ovembed.remote import in_words
    from ovembed.repository import ModelRepository

    if expect is not None and not deep:
        raise typer.BadParameter("--expect is for --deep.")
    reference = Reference(ModelRepository(repository, config), expect) if deep else None
    if wait is None:
        report = check_health(url, model=model, api_key=api_key, reference=reference)
    else:
        with Talk(quiet=quiet).console.status(escape(f"Waiting for {in_words(url)} …")) as status:
            report = wait_healthy(
                url,
                wait,
                model=model,
                api_key=api_key,
                reference=reference,
                on_wait=lambda sick: status.update(_waiting(sick)),
            )
    if as_json:
        print_json(report.to_json())
    else:
        rows = [[check.name, _SIGNS[check.ok], check.detail] for check in report.checks]
        print_table(stdout_console(), ["Check", "Result", "Detail"], rows)
    if not report.healthy:
        raise typer.Exit(_SICK if wait is None else _NOT_IN_TIME)


def _waiting(report: HealthReport) -> str:
    from rich.markup import escape

    return escape(f"Waiting for {report.url}: {report.problem}")
