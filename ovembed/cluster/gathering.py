"""The folder that a job gathers its parts in, beside the output until all are there."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from ovembed.cluster.blocks import read_results
from ovembed.corpus.formats.parts import MANIFEST
from ovembed.corpus.partial import broke_off, folder_of, kept
from ovembed.corpus.writing import LOCK, alone, translated
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed.corpus.formats.parts import Manifest


@contextlib.contextmanager
def gathered(folder: Path, *, force: bool, resume: bool) -> Iterator[Path]:
    """A folder that becomes the output when the block ends well, and when it does not keeps the parts that are done.

    Raises InputError for an output that exists (`force` replaces one of this kind), for what a job before has left
    where neither `force` nor `resume` says what to do with it, and when another job is writing there.
    """
    partial = folder_of(folder)
    if folder.exists() and not ((force or (resume and partial.exists())) and (folder / MANIFEST).exists()):
        advice = "Choose another --output" if force else "Replace it with --force, or choose another --output"
        raise InputError(f"{folder} exists already. {advice}.")
    with translated(folder):
        partial.mkdir(parents=True, exist_ok=True)
        with alone(partial, folder):
            if not resume:
                _begin(partial, folder, force=force)
            try:
                yield partial
            except BaseException as error:
                _keep(partial, error)
                raise
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)


def is_complete(folder: Path) -> bool:
    """The output is there, and no job for it has broken off."""
    return (folder / MANIFEST).exists() and not folder_of(folder).exists()


def clean(folder: Path, manifest: Manifest) -> None:
    """Only the output stays: texts, results, and what killed workers began to write, go."""
    output = {MANIFEST, *(part.file for part in manifest.parts)}
    for path in folder.iterdir():
        if path.name not in output:
            path.unlink()


def _begin(partial: Path, folder: Path, *, force: bool) -> None:
    """Without anything of a job before."""
    if not force and (parts := _parts(partial)):
        raise broke_off(folder, f"{parts} parts")
    for path in partial.iterdir():
        if path.name != LOCK:
            path.unlink()


def _keep(partial: Path, error: BaseException) -> None:
    """Nothing, where nothing is done."""
    if parts := _parts(partial):
        error.add_note(kept(f"{parts} parts", partial))
    else:
        shutil.rmtree(partial, ignore_errors=True)


def _parts(partial: Path) -> int:
    return sum(result.rows > 0 for result in read_results(partial).values())
