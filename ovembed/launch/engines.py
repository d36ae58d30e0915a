"""docker and podman, by their command lines: what they say in many words becomes one line with the next step."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import IO, TYPE_CHECKING, Literal

from ovembed.errors import InputError, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

EngineName = Literal["docker", "podman"]

_TIMEOUT_S = 120

# What the engines say, and what that means to whoever asked. The first that is found counts.
_PROBLEMS: Sequence[tuple[re.Pattern[str], str]] = [
    (
        re.compile(r"permission denied while trying to connect", re.IGNORECASE),
        "You may not use {engine}'s socket. Join its group (sudo usermod -aG {engine} $USER), and log in again.",
    ),
    (
        re.compile(r"cannot connect to (the docker daemon|podman)|failed to connect to the docker API", re.IGNORECASE),
        "The {engine} daemon is not running. Start it (sudo systemctl start {engine}), or use --backend local.",
    ),
    (
        re.compile(r"name \"?/?(?P<name>[^\s\"]+)\"? is already in use by", re.IGNORECASE),
        "There is a container '{name}' already. Remove it ({engine} rm --force {name}), or choose --container-name.",
    ),
    (
        re.compile(r"port is already allocated|address already in use", re.IGNORECASE),
        "The port is in use. Choose another with --port (0: a free one).",
    ),
]
_UNKNOWN = re.compile(r"no such (object|container)|no container with name", re.IGNORECASE)
_PREFIX = re.compile(r"^.*(?:error response from daemon|error): ", re.IGNORECASE)


class NoSuchContainer(Exception):
    """The engine does not know it any more."""


class Engine:
    """Raises InputError when it is not installed; its calls raise ServerError with what to do."""

    def __init__(self, name: EngineName) -> None:
        program = shutil.which(name)
        if program is None:
            other = "podman" if name == "docker" else "docker"
            step = f"--engine {other}" if shutil.which(other) else "--backend local, which needs none"
            raise InputError(f"{name} is not installed. Install it, or use {step}.")
        self.name: EngineName = name
        self._program = program

    def call(self, *arguments: str) -> str:
        """What it prints on stdout. Raises NoSuchContainer too."""
        try:
            done = subprocess.run(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"{self.name} {arguments[0]} gave no answer for {_TIMEOUT_S} s.") from error
        if done.returncode != 0:
            raise self._error(done.stderr)
        return done.stdout.strip()

    def need_image(self, image: str) -> None:
        """Pull it unless it is here."""
        self.call("version")  # a daemon that is not there, before an image that is not
        if self._succeeds("image", "inspect", image):
            return
        done = subprocess.run(
            [self._program, "pull", "--quiet", image],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(
                f"The image {image} is not here and cannot be pulled ({_reason(done.stderr)}). "
                f"Bring it ({self.name} load --input FILE), or name another with --image."
            )

    def logs(self, container: str, lines: int) -> str:
        done = subprocess.run(
            [self._program, "logs", "--tail", str(lines), container],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def follow(self, container: str, output: IO[bytes]) -> None:
        """Everything that it has said and says, until it ends."""
        command = [self._program, "logs", "--follow", container]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,  # a Ctrl-C is for us: the last lines come after it
        ) as process:
            assert process.stdout is not None  # noqa: S101  it is a pipe
            try:
                while chunk := process.stdout.read(64 * 1024):
                    output.write(chunk)
                    output.flush()
            finally:
                process.kill()

    def _succeeds(self, *arguments: str) -> bool:
        done = subprocess.run([self._program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return done.returncode == 0

    def _error(self, said: str) -> Exception:
        if _UNKNOWN.search(said):
            return NoSuchContainer(said)
        for pattern, meaning in _PROBLEMS:
            if found := pattern.search(said):
                return ServerError(meaning.format(engine=self.name, **found.groupdict()))
        return ServerError(f"{self.name} failed: {_reason(said)}.")


def _reason(said: str) -> str:
    """The line that tells it, without the words that begin them all."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if _PREFIX.match(line)] or lines
    return _PREFIX.sub("", telling[0]).rstrip(".") if telling else "no reason given"
