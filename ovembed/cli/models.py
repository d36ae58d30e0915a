from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovembed.cli.options import ConfigOpt, JsonOpt, QuietOpt, RepositoryOpt, is_given
from ovembed.cli.output import Talk, print_json, print_table, stdout_console
from ovembed.errors import OvembedError

if TYPE_CHECKING:
    from ovembed.repository import ModelEntry

app = typer.Typer(
    help="List, show, verify and remove exported models.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
_DEFAULT_REPOSITORY = Path("models")
_NOT_VERIFIED = 1

NameArg = Annotated[str, typer.Argument(help="Served name of the model.")]


@app.callback()
def models(
    context: typer.Context,
    repository: RepositoryOpt = _DEFAULT_REPOSITORY,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Without a command, `list`."""
    if context.invoked_subcommand is None:
        list_models(repository, config, as_json)
    elif any(is_given(context, name) for name in context.params):
        raise typer.BadParameter(f"options come after the command: ovembed models {context.invoked_subcommand} …")


@app.command("list")
def list_models(
    repository: RepositoryOpt = _DEFAULT_REPOSITORY, config: ConfigOpt = None, as_json: JsonOpt = False
) -> None:
    """All models, and what was measured of them."""
    from ovembed.cli.report import entry_json
    from ovembed.repository import ModelRepository

    held = ModelRepository(repository, config)
    described, rows, problems = [], [], {}
    for name in held.names():
        try:
            entry = held.get(name)
            described.append(entry_json(entry))
            rows.append(_row(entry))
        except OvembedError as error:
            problems[name] = str(error)
            rows.append([name, "unreadable"])
    others = held.other_names()
    if as_json:
        print_json({"models": described, "unreadable": problems, "others": others})
        return
    if not rows and not others:
        Talk().say(f"{repository}/ holds no model. Export one: ovembed export SOURCE")
        return
    rows += [[name, "not made by ovembed"] for name in others]
    print_table(stdout_console(), ["Name", "Precision", "Dim.", "Tokens", "Size", "Cosine", "Fingerprint"], rows)
    for problem in problems.values():
        Talk().say(problem)


@app.command("show")
def show(
    name: NameArg,
    repository: RepositoryOpt = _DEFAULT_REPOSITORY,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """What was decided at its export and from where, and its fidelity report."""
    from ovembed.cli import report
    from ovembed.repository import ModelRepository

    entry = ModelRepository(repository, config).get(name)
    if as_json:
        print_json(report.entry_json(entry))
        return
    console = stdout_console()
    for columns, rows in report.tables(entry):
        print_table(console, columns, rows)
        console.print()
    for line in (*report.closing(entry), f"Folder {entry.folder}"):
        console.print(line, soft_wrap=True, markup=False)


@app.command("verify")
def verify(
    name: NameArg,
    repository: RepositoryOpt = _DEFAULT_REPOSITORY,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Embed the texts of its export again and compare. Exit code 1 when the vectors have changed."""
    from ovembed.repository import ModelRepository
    from ovembed.verification import verify_model

    entry = ModelRepository(repository, config).get(name)
    with Talk(quiet=quiet).console.status(f"Embedding the golden texts of {name} …"):
        result = verify_model(entry)
    if as_json:
        print_json({"name": name, "fingerprint": entry.spec.fingerprint} | result.to_json())
    else:
        columns = ["Model", "Texts", "Lowest to recorded", "Mean to source", "Result"]
        sign = "ok" if result.passed else "FAILED"
        cells = [name, str(result.texts), f"{result.lowest_to_recorded:.5f}", f"{result.mean_to_source:.5f}", sign]
        print_table(stdout_console(), columns, [cells])
    if not result.passed:
        raise typer.Exit(_NOT_VERIFIED)


@app.command("remove")
def remove(
    name: NameArg,
    repository: RepositoryOpt = _DEFAULT_REPOSITORY,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Take a model out of the configuration file and delete its folder."""
    from ovembed.repository import ModelRepository

    held = ModelRepository(repository, config)
    others = held.remove(name)
    if as_json:
        print_json({"removed": name, "still_served_by": [str(path) for path in others]})
    elif others:
        kept = ", ".join(str(path) for path in others)
        Talk(quiet=quiet).say(f"'{name}' is no longer in {held.config_path}. Its files stay: {kept} serves them too.")
    else:
        Talk(quiet=quiet).say(f"'{name}' is removed.")


def _row(entry: ModelEntry) -> list[str]:
    spec = entry.spec
    return [
        entry.name,
        spec.precision,
        str(spec.dimensions),
        str(spec.max_tokens),
        f"{entry.size_bytes / 1e6:.1f} MB",
        f"{entry.fidelity.mean:.5f}",
        spec.fingerprint,
    ]
