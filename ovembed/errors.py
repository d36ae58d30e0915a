"""Every error ovembed raises on purpose. Messages are one line: the fact, the name, the next step.

OvembedError
├── InputError         a text, file, name or option that cannot be used as given
│   ├── TextError      one of several texts cannot be embedded
│   │   └── TextTooLong    it has more tokens than the model takes
│   ├── TextsRefused       the job is done, but for some texts
│   ├── RequestError   a request body that is not what the protocol asks for
│   └── RequestTooLarge    a request that can never fit, however empty the queue
├── MissingExtra       the command needs packages of an extra that is not installed
├── ModelNotFound      no such model, neither in the repository nor where it was looked for
│   └── ModelRetired       it was served, and has been taken out of the repository
├── ExportError        the model could not be turned into a working OpenVINO model
├── RepositoryError    the model repository cannot be read or written
│   ├── ConfigInvalid      its configuration file is not one that OVMS would take
│   └── ConfigMissing      its configuration file is gone
├── EngineError        OpenVINO could not load or run the model
├── ServerError        a server could not be started
├── ClusterError       a Ray cluster could not be reached, or could not do the job
├── NotReady           something did not become ready in the time allowed
├── Unauthorized       a request for work without a valid key
├── BodyTimeout        a client that kept the body of its request back
├── RequestTimeout     a request that took longer than it may
├── Overloaded         the queue is full; the same call may work later
├── ModelUnready       the model loads, or its vectors are wrong; the same call may work later
├── ShuttingDown       the server is about to end; the same call may work elsewhere
└── EndpointError      a remote endpoint answered with an error, or not at all
    ├── EndpointRefused    nothing accepts connections there
    ├── EndpointTimeout    no answer in the time allowed
    ├── EndpointLost       the connection broke before the answer was complete
    └── EndpointBusy       it asks to come back later
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What stands before each line of another program, where a message ends with its last words.
QUOTE = "\n  | "

_LINE_CHARACTERS = 300
_NAME_CHARACTERS = 200


def last_line(error: BaseException) -> str:
    """What a foreign error says in the end, of what may be a whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:_LINE_CHARACTERS] if lines else type(error).__name__


def in_one_line(words: object) -> str:
    """What a foreign error says, of which it may make several lines, for the middle of a sentence."""
    return " ".join(str(words).split()).rstrip(" .")


def quoted(name: str) -> str:
    """A name that came from outside, for a message of one line; of a long one its beginning."""
    return repr(name if len(name) <= _NAME_CHARACTERS else name[:_NAME_CHARACTERS] + "…")


class OvembedError(Exception):
    """Base of all errors raised on purpose."""


class InputError(OvembedError):
    """A text, file, name or option that cannot be used as given."""


class TextError(InputError):
    """One of several texts cannot be embedded.

    `position` is its place among them, `problem` says why. `others` are the rest of those at fault, where all texts
    were looked at.
    """

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"Input {position}: {problem}")
        self.position = position
        self.problem = problem
        self.others: Sequence[TextError] = ()


class TextTooLong(TextError):
    """A text has more tokens than the model takes."""


class TextsRefused(InputError):
    """The job is done, but for some texts."""


class RequestError(InputError):
    """A request body that is not what the protocol asks for.

    `param` names the offending field, as OpenAI's error object does.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class RequestTooLarge(InputError):
    """A request that can never fit, however empty the queue."""


class MissingExtra(OvembedError):
    """The command needs packages of an extra that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the '{extra}' extra. Install it: pip install 'ovembed[{extra}]'")
        self.extra = extra


class ModelNotFound(OvembedError):
    """No such model, neither in the repository nor where it was looked for."""


class ModelRetired(ModelNotFound):
    """It was served, and has been taken out of the repository."""


class ExportError(OvembedError):
    """The model could not be turned into a working OpenVINO model."""


class RepositoryError(OvembedError):
    """The model repository cannot be read or written."""


class ConfigInvalid(RepositoryError):
    """The repository's configuration file is not one that OVMS would take."""


class ConfigMissing(RepositoryError):
    """The repository's configuration file is gone."""


class EngineError(OvembedError):
    """OpenVINO could not load or run the model."""


class ServerError(OvembedError):
    """A server could not be started."""


class ClusterError(OvembedError):
    """A Ray cluster could not be reached, or could not do the job."""


class NotReady(OvembedError):
    """Something did not become ready in the time allowed."""


class Unauthorized(OvembedError):
    """A request for work without a valid key."""


class BodyTimeout(OvembedError):
    """A client that kept the body of its request back."""


class RequestTimeout(OvembedError):
    """A request that took longer than it may."""


class Overloaded(OvembedError):
    """The queue is full; the same call may work later."""


class ModelUnready(OvembedError):
    """The model loads, or its vectors are wrong; the same call may work later."""


class ShuttingDown(OvembedError):
    """The server is about to end; the same call may work elsewhere."""

    def __init__(self, message: str = "The server is shutting down.") -> None:
        super().__init__(message)


class EndpointError(OvembedError):
    """A remote endpoint answered with an error, or not at all."""


class EndpointRefused(EndpointError):
    """Nothing accepts connections there."""


class EndpointTimeout(EndpointError):
    """No answer in the time allowed."""


class EndpointLost(EndpointError):
    """The connection broke before the answer was complete."""


class EndpointBusy(EndpointError):
    """It asks to come back later, in `retry_after_s` seconds where it says so."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
