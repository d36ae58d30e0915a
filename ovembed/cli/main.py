"""The `ovembed` program: its commands, and which error ends it with which exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ovembed import __version__
from ovembed.cli import bench, demo, deploy, embed, export, gateway, health, models, query, serve, servers, streams
from ovembed.cli.help_groups import GroupedCommand
from ovembed.cli.output import tell_failure
from ovembed.errors import NotReady, OvembedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Looked up along the class's ancestors, so the nearest entry counts. 2 is wrong usage, 130 an interrupt.
EXIT_CODES: Mapping[type[Exception], int] = {OvembedError: 1, NotReady: 3}

app = typer.Typer(
    name="ovembed",
    help="From a Hugging Face embedding model to a fast, checked embedding service on OpenVINO.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every option can be set by an environment variable: --weight-format by OVEMBED_WEIGHT_FORMAT. "
    "To see it all work on a bundled example: ovembed demo",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ovembed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command("export")(export.export)
app.add_typer(models.app, name="models")
app.command("serve", cls=GroupedCommand)(serve.serve)
app.command("status")(servers.status)
app.command("stop")(servers.stop)
app.command("logs")(servers.logs)
app.command("gateway", cls=GroupedCommand)(gateway.gateway)
app.command("health")(health.health)
app.command("embed", cls=GroupedCommand)(embed.embed)
app.command("query", cls=GroupedCommand)(query.query)
app.add_typer(deploy.app, name="deploy")
app.command("bench", cls=GroupedCommand)(bench.bench)
app.command("demo")(demo.demo)


def exit_code(error: OvembedError) -> int:
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and end it; errors raised on purpose become one plain line on stderr.

    `arguments` None takes those of this process.
    """
    _heed_sigterm()
    streams.mend()
    try:
        app(arguments)
    except OvembedError as error:
        notes = getattr(error, "__notes__", ())
        tell_failure(" ".join([str(error), *notes]))
        sys.exit(exit_code(error))


def _heed_sigterm() -> None:
    """In a container we are process 1, and to that one a signal without a handler does nothing."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
