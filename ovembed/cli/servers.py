"""`status`, `stop` and `logs`: the servers that run on their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ovembed.cli.options import JsonOpt, QuietOpt, option
from ovembed.cli.output import Talk, print_json, print_table, stdout_bytes, stdout_console
from ovembed.errors import OvembedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.launch.state import Server, Servers

_ALL_LINES = 1_000_000
NameArg = Annotated[str | None, typer.Argument(help="Name of the server; not needed where there is one.")]


def status(as_json: JsonOpt = False) -> None:
    """The servers started with --detach, and how they are."""
    from ovembed.launch.look import look_at
    from ovembed.launch.state import Servers

    seen = [look_at(server) for server in _readable(Servers())]
    if as_json:
        print_json({"servers": [each.to_json() for each in seen]})
    elif seen:
        columns = ["Name", "Backend", "URL", "Models", "Health", "Up"]
        rows = [
            [
                each.server.name,
                each.server.backend,
                each.server.url or "-",
                ", ".join(each.server.models),
                each.summary,
                _duration(each.uptime_s),
            ]
            for each in seen
        ]
        print_table(stdout_console(), columns, rows)
    else:
        Talk().say("No server was started here. Start one: ovembed serve --detach")


def stop(
    name: NameArg = None,
    all_of_them: Annotated[bool, option("--all", help="Stop all of them.")] = False,
    quiet: QuietOpt = False,
) -> None:
    """Stop a server that was started with --detach."""
    from ovembed.errors import OvembedError, ServerError
    from ovembed.launch.state import Servers

    servers = Servers()
    if all_of_them and name is not None:
        raise typer.BadParameter("give a NAME or --all, not both.")
    talk = Talk(quiet=quiet)
    problems = []
    for server in _readable(servers) if all_of_them else [_find(servers, name)]:
        try:
            ran = server.home.running()
            with talk.console.status(f"Stopping {server.name} …"):
                server.stop()
        except OvembedError as error:
            problems.append(f"'{server.name}' is not stopped: {error}")
            continue
        servers.forget(server.name)
        talk.say(f"'{server.name}' is stopped." if ran else f"'{server.name}' had ended before.")
    if problems:
        raise ServerError(" ".join(problems))


def logs(
    name: NameArg = None,
    follow: Annotated[bool, option("--follow", "-f", help="Go on with what it says, until it ends.")] = False,
    lines: Annotated[
        int | None, option("--lines", "-n", min=1, help="The last lines only.", show_default="all")
    ] = None,
) -> None:
    """What a server that was started with --detach has said."""
    from ovembed.launch.state import Servers

    home = _find(Servers(), name).home
    with stdout_bytes() as stdout:
        if follow:
            home.follow(stdout)
        elif said := home.last_words(lines or _ALL_LINES):
            stdout.write(said.encode() + b"\n")


def _readable(servers: Servers) -> Iterator[Server]:
    """All but those whose file is damaged, which are told."""
    for name in servers.names():
        try:
            yield servers.get(name)
        except OvembedError as error:
            Talk().say(str(error))


def _find(servers: Servers, name: str | None) -> Server:
    return servers.only() if name is None else servers.get(name)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    return f"{hours:.0f} h" if days < 2 else f"{days:.0f} d"
