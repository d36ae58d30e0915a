"""`ovembed-ovms`: our server behind the command line of OVMS 2026.3, for where an `ovms` is started.

An unknown flag ends it with exit code 64, as OVMS does. Flags that mean nothing here are taken, and told at the
start. Two things differ, both on the safe side: without --rest_port it ends, as gRPC is not offered; and web pages of
other origins may ask only with --allowed_origins.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ovembed import __version__
from ovembed.launch.ovms_flags import FLAGS, USAGE, UsageError, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MODEL = {"model_name", "model_path", "target_device", "plugin_config", "batch_size", "shape", "layout", "stateful"}
_NOT_OFFERED = {"source_model", "pull", "task", "model_repository_path", "overwrite_models", "list_models"}
_NOT_OFFERED |= {"weight-format", "extra_quantization_params"}
_MEANT = {
    *("rest_port", "rest_bind_address", "config_path", "model_name", "model_path", "api_key_file"),
    *("allowed_origins", "log_level", "metrics_enable", "help", "version"),
}
_PATHS = {"config_path", "model_path", "api_key_file"}
_LOG_LEVELS: Mapping[str, list[str]] = {
    "TRACE": ["--access-log"],
    "DEBUG": ["--access-log"],
    "INFO": [],
    "WARNING": [],
    "ERROR": ["--quiet"],
}
_HIGHEST_PORT = 65535


def main() -> None:
    """Serve what the command line names; exit codes are OVMS's: 64 wrong usage, 1 failed, 0 told to stop."""
    try:
        values = parse(sys.argv[1:])
        if not values or "help" in values:
            sys.stdout.write(_help())
        elif "version" in values:
            sys.stdout.write(f"ovembed {__version__}\n")
        else:
            _check(values)
            _serve(values)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)


def _help() -> str:
    names = "".join(f"  --{name}\n" for name in sorted(FLAGS.keys() - _NOT_OFFERED))
    return f"Usage: ovembed-ovms --config_path FILE --rest_port PORT\n\nFlags of OVMS that are taken:\n{names}"


def _check(values: Mapping[str, str]) -> None:
    for name in sorted(_NOT_OFFERED & values.keys()):
        raise UsageError(f"--{name} is not offered here. Make models with: ovembed export SOURCE")
    rest, grpc = (_port(values, name) for name in ("rest_port", "port"))
    if not rest and not grpc:
        raise UsageError("port and rest_port cannot both be unset")
    if rest == grpc:
        raise UsageError("port and rest_port cannot have the same values")
    if not rest:
        raise UsageError("--port is for gRPC, which is not offered here, and opens no REST. Give --rest_port.")
    if "config_path" in values and (mixed := sorted(_MODEL & values.keys())):
        raise UsageError(f"--config_path excludes --{mixed[0]}: the model's own settings are in the file")
    if "config_path" not in values and not {"model_name", "model_path"} <= values.keys():
        raise UsageError("Use config_path or model_path with model_name")
    if values.get("log_level", "INFO") not in _LOG_LEVELS:
        raise UsageError(f"log_level should be one of: {', '.join(_LOG_LEVELS)}")
    if "," in values.get("rest_bind_address", ""):
        raise UsageError("--rest_bind_address takes one address here; 0.0.0.0 is every one")


def _port(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "0")
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise UsageError(f"{name} number out of range from 0 to {_HIGHEST_PORT}")
    return int(text)


def _serve(values: Mapping[str, str]) -> None:
    from ovembed.cli import main as program

    for name in _PATHS & values.keys():
        if not Path(values[name]).exists():
            sys.exit(f"ovembed-ovms: {values[name]} does not exist. Check --{name}.")
    if idle := sorted(values.keys() - _MEANT):
        sys.stderr.write(f"Without effect here: {', '.join(f'--{name}' for name in idle)}\n")
    with tempfile.TemporaryDirectory(prefix="ovembed-ovms-") as scratch:
        program.main(_serve_arguments(values, Path(scratch)))


def _serve_arguments(values: Mapping[str, str], scratch: Path) -> Sequence[str]:
    """The same for `ovembed serve`; what OVMS takes from elsewhere than files is written into `scratch`."""
    config = Path(values["config_path"]) if "config_path" in values else _config_of_one(values, scratch)
    keys = _key_file(values, scratch)
    origins = [origin for origin in values.get("allowed_origins", "").split(",") if origin]
    return [
        *("serve", "--repository", str(config.parent), "--config", str(config)),
        *("--host", values.get("rest_bind_address", "0.0.0.0"), "--port", values["rest_port"]),  # noqa: S104
        *(("--api-key-file", str(keys)) if keys else ()),
        *(argument for origin in origins for argument in ("--cors-origin", origin)),
        *_LOG_LEVELS[values.get("log_level", "INFO")],
    ]


def _config_of_one(values: Mapping[str, str], scratch: Path) -> Path:
    from ovembed.repository import config

    path = scratch / "config.json"
    served = config.ServingConfig({}, {}).with_graph(values["model_name"], str(Path(values["model_path"]).resolve()))
    config.write(path, served)
    return path


def _key_file(values: Mapping[str, str], scratch: Path) -> Path | None:
    """The flag, else the key that OVMS takes from its environment."""
    if "api_key_file" in values:
        return Path(values["api_key_file"])
    if not os.environ.get("API_KEY"):
        return None
    path = scratch / "key"
    path.touch(mode=0o600)
    path.write_text(os.environ["API_KEY"] + "\n", encoding="utf-8")
    return path
