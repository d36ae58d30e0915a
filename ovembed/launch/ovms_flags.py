"""The command line of OVMS: which flags each release knows. Every other one ends it with exit code 64.

Source: OVMS's `src/cli_parser.cpp` and `docs/parameters.md`, by release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.repository import NEWEST, SUPPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ovembed.repository import OvmsVersion

USAGE = 64  # exit code


@dataclass(frozen=True, slots=True)
class Flag:
    """`switch`: takes no value. `since` and `until`: the first and the last release that know it."""

    switch: bool = False
    since: str = SUPPORTED[0].name
    until: str = NEWEST.name

    def known_to(self, version: OvmsVersion) -> bool:
        names = [supported.name for supported in SUPPORTED]
        return names.index(self.since) <= names.index(version.name) <= names.index(self.until)


class UsageError(Exception):
    """What OVMS says of a command line that it does not take."""


def _flags(names: str, **settings: str | bool) -> Iterator[tuple[str, Flag]]:
    for name in names.split():
        yield name, Flag(**settings)  # type: ignore[arg-type]


FLAGS: Mapping[str, Flag] = dict(
    [
        *_flags("port grpc_bind_address grpc_workers grpc_channel_arguments grpc_max_threads grpc_memory_quota"),
        *_flags("rest_port rest_bind_address rest_workers"),
        *_flags("config_path model_name model_path target_device plugin_config batch_size shape layout"),
        *_flags("file_system_poll_wait_seconds log_level log_path cache_dir cpu_extension"),
        *_flags("metrics_list"),
        *_flags("metrics_enable help version", switch=True),
        *_flags("allowed_origins allowed_methods allowed_headers", since="2025.2"),
        *_flags("allow_credentials", switch=True, since="2025.2"),
        *_flags("source_model model_repository_path task", since="2025.2"),
        *_flags("pull overwrite_models list_models", switch=True, since="2025.2"),
        *_flags("weight-format extra_quantization_params", since="2025.3"),
        *_flags("api_key_file", since="2025.4"),
        *_flags("sequence_cleaner_poll_wait_minutes max_sequence_number", until="2026.2"),
        *_flags("stateful idle_sequence_cleanup low_latency_transformation", switch=True, until="2026.2"),
    ]
)


def parse(arguments: Sequence[str], version: OvmsVersion = NEWEST) -> dict[str, str]:
    """The value of each flag that is given, "true" for a switch. Raises UsageError in that version's words."""
    values: dict[str, str] = {}
    unmatched: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        flag = FLAGS.get(name) if word.startswith("--") else None
        if flag is None or not flag.known_to(version):
            unmatched.append(word)
        elif equals or flag.switch:
            values[name] = value if equals else "true"
        else:
            values[name] = _value(name, next(words, None))
    if unmatched:
        raise UsageError(f"error parsing options - unmatched arguments: {''.join(f'{word}, ' for word in unmatched)}")
    return values


def _value(name: str, word: str | None) -> str:
    if word is None:
        raise UsageError(f"error parsing options: Option '{name}' is missing an argument")
    return word
