from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ovembed import errors
from ovembed.cli.main import app, exit_code
from tests.cli import ovembed

HEAVY = {"numpy", "openvino", "torch", "transformers", "optimum", "nncf", "httpx", "starlette", "uvicorn", "tokenizers"}
HEAVY |= {"google.protobuf", "jinja2", "prometheus_client"}
COMMANDS = [command.name for command in app.registered_commands]


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str | None]) -> None:
    script = (
        "import sys, json\n"
        f"sys.argv = ['ovembed', *{arguments!r}, '--help']\n"
        "from ovembed.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    assert HEAVY.isdisjoint(json.loads(done.stderr))


def test_every_option_has_its_environment_variable() -> None:
    import typer

    group = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.commands[name]  # type: ignore[attr-defined]
        for parameter in command.params:
            long_names = [option for option in parameter.opts if option.startswith("--") and option != "--help"]
            if long_names:
                expected = "OVEMBED_" + long_names[0].removeprefix("--").replace("-", "_").upper()
                variables = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar
                assert variables[0] == expected, f"{name} {long_names}"


def test_the_environment_sets_an_option_and_the_flag_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVEMBED_REPOSITORY", "from-environment")
    assert b"from-environment/" in ovembed("embed", "--text", "a").stderr
    assert b"from-flag/" in ovembed("embed", "--text", "a", "--repository", "from-flag").stderr


def test_every_error_has_an_exit_code() -> None:
    def descendants(kind: type[errors.OvembedError]) -> list[type[errors.OvembedError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in descendants(child))]

    for kind in descendants(errors.OvembedError):
        error = kind.__new__(kind)
        assert exit_code(error) == (3 if kind is errors.NotReady else 1)


def test_version_and_unknown_commands() -> None:
    assert ovembed("--version").stdout.startswith(b"ovembed ")
    assert ovembed("no-such-command").returncode == 2
