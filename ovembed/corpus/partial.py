"""The folder `<output>.partial`: rows gathered beside an output until all are there, and what a crash leaves.

vectors.npy, vectors.meta.jsonl   the rows so far, as the NPY format has them
errors.jsonl                      what was refused so far
checkpoint.json                   how far the job has come, how long the files were then, and the output's format
rendered                          the output, where its format is not NPY

The checkpoint is replaced only when everything it speaks of is on the disk; whatever the files hold beyond it is
cut off when the job goes on. So a row is there once, however the job ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Self

import orjson

from ovembed.corpus import formats, precision
from ovembed.corpus.formats import npy
from ovembed.corpus.rows import Standing
from ovembed.corpus.writing import alone, sync, sync_folder, translated, whole
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ovembed.corpus.formats import Format
    from ovembed.corpus.rows import Block

_VECTORS, _META, _ERRORS = _GATHERED = ("vectors.npy", "vectors.meta.jsonl", "errors.jsonl")
_CHECKPOINT, _RENDERED = "checkpoint.json", "rendered"


def folder_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial")


def errors_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.errors.jsonl")


def broke_off(output: Path, after: str) -> InputError:
    """What to raise where a job has left something, and nobody says what to do with it."""
    return InputError(
        f"A job for {output} broke off after {after}. Continue it with --resume, or start over with --force."
    )


def had(what: str) -> InputError:
    """What to raise where another job is to go on than the one that broke off."""
    return InputError(f"The job that broke off had {what}. Continue with the same, or start over with --force.")


def kept(what: str, folder: Path) -> str:
    """A note for the error that ends a job."""
    return f"{what} are kept in {folder}: continue with --resume."


class Partial:
    """A Writer to a file that shows up under its name, with what stands beside it, when the job has ended well."""

    def __init__(self, output: Path, kind: Format, *, resume: bool, force: bool) -> None:
        """Raises InputError when a job broke off here and neither continues nor is forced to start over."""
        self.output = output
        self.folder = folder_of(output)
        self.standing = Standing()
        self._kind = kind
        self._files = contextlib.ExitStack()
        with translated(output):
            found = self.folder.is_dir()
            self.folder.mkdir(exist_ok=True)
            self._files.enter_context(alone(self.folder, output))
            try:
                if found:
                    self._take_up(resume=resume, force=force)
                if not self.standing.complete:
                    self._vectors, self._meta, self._errors = map(self._open, _GATHERED)
            except BaseException:
                self._files.close()
                raise

    def write(self, block: Block, standing: Standing) -> None:
        with translated(self.output):
            if block.rows and standing.space is not None:
                if not self.standing.rows:
                    npy.write_header(self._vectors, standing.space, 0)
                    self._meta.write(npy.meta_head(standing.space))
                self._vectors.write(precision.encode(block.vectors, standing.space).tobytes())
                self._meta.writelines(npy.meta_lines(block.rows, self.standing.rows))
            for refused in block.refused:
                self._errors.write(orjson.dumps(refused.to_json(), option=orjson.OPT_APPEND_NEWLINE))
            self._checkpoint(standing)

    def finish(self) -> None:
        """Write the output in its format, and give it its name. Once begun, a crash leaves it to the next job."""
        with translated(self.output):
            if not self.standing.complete:
                self._complete()
            self._publish()

    def close(self, *, keep: bool) -> None:
        """End the work; `keep` leaves the rows there are for another job."""
        with contextlib.suppress(OSError):
            if not keep or not self.standing.rows:
                # The checkpoint goes last: as long as there is one, a job that is done is known to be.
                for path in self.folder.iterdir():
                    if path.name != _CHECKPOINT:
                        path.unlink()
                shutil.rmtree(self.folder)
        # A full disk takes no more of what is not written yet: it is beyond the checkpoint.
        with contextlib.suppress(OSError):
            self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object, /) -> None:
        self.close(keep=error is not None)
        if error is not None and self.standing.rows:
            error.add_note(kept(f"{self.standing.rows} rows", self.folder))

    def _take_up(self, *, resume: bool, force: bool) -> None:
        path = self.folder / _CHECKPOINT
        if resume and path.exists():
            found = _Checkpoint.read(path)
            self.standing = found.standing
            if not self.standing.complete:
                self._cut_off(found.lengths)
            elif found.kind not in {None, self._kind}:
                raise had("another format")  # some of its files may have their names already
            return
        if not resume and not force and path.exists():
            raise broke_off(self.output, f"{_Checkpoint.read(path).standing.rows} rows")
        for name in (_CHECKPOINT, *_GATHERED):
            (self.folder / name).unlink(missing_ok=True)

    def _cut_off(self, lengths: Mapping[str, int]) -> None:
        """What the files hold beyond these."""
        for name, length in lengths.items():
            path = self.folder / name
            if not path.exists() or path.stat().st_size < length:
                raise _damaged(path)
            os.truncate(path, length)

    def _open(self, name: str) -> IO[bytes]:
        path = self.folder / name
        path.touch()
        file = self._files.enter_context(path.open("r+b"))
        file.seek(0, os.SEEK_END)
        return file

    def _checkpoint(self, standing: Standing) -> None:
        lengths = {}
        for name, file in zip(_GATHERED, (self._vectors, self._meta, self._errors), strict=True):
            sync(file)
            lengths[name] = file.tell()
        with whole(self.folder / _CHECKPOINT) as path:
            _Checkpoint(standing, lengths, self._kind).write(path)
        sync_folder(self.folder)
        self.standing = standing

    def _complete(self) -> None:
        if self.standing.space is None:
            raise AssertionError("An output without rows. This is a bug.")
        self._vectors.seek(0)
        npy.write_header(self._vectors, self.standing.space, self.standing.rows)
        self._vectors.seek(0, os.SEEK_END)
        sync(self._vectors)
        if self._kind != "npy":
            rendered = self.folder / _RENDERED
            with npy.read(self.folder / _VECTORS) as stored:
                formats.OWNERS[self._kind].write(replace(stored, total_tokens=self.standing.tokens), rendered)
            with rendered.open("rb") as file:
                os.fsync(file.fileno())
        self._checkpoint(replace(self.standing, complete=True))

    def _publish(self) -> None:
        made = (_META, _VECTORS) if self._kind == "npy" else (_RENDERED,)
        targets = dict(zip(made, formats.files_of(self.output, self._kind), strict=True))
        if self.standing.refused:
            targets[_ERRORS] = errors_of(self.output)
        else:
            errors_of(self.output).unlink(missing_ok=True)
        for name, target in targets.items():
            source = self.folder / name
            # A crash between two of them leaves one already where it belongs.
            if source.exists():
                source.replace(target)
        sync_folder(self.output.parent)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """`kind` is the format that the output was to have, None where an earlier version did not tell."""

    standing: Standing
    lengths: Mapping[str, int]
    kind: str | None

    def write(self, path: Path) -> None:
        values = {"standing": self.standing.to_json(), "lengths": self.lengths, "format": self.kind}
        path.write_bytes(orjson.dumps(values))

    @classmethod
    def read(cls, path: Path) -> Self:
        try:
            values = orjson.loads(path.read_bytes())
            return cls(Standing.from_json(values["standing"]), values["lengths"], values.get("format"))
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path) from error


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged. Start over with --force.")
