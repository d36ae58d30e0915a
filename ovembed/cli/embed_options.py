"""The options of embed, in the groups of its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovembed.cli.options import option

_INPUT, _OUTPUT, _TEXTS, _CLUSTER = "Input", "Output", "Texts to vectors", "Cluster"

FilesArg = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files (txt, md, html, pdf, csv, tsv, json, jsonl, parquet, .gz, .zst) and folders; - is stdin."
    ),
]
TextOpt = Annotated[list[str] | None, option("--text", "-t", help="A text; may be repeated.", rich_help_panel=_INPUT)]
GlobOpt = Annotated[
    str | None,
    option("--glob", help="Files of folders, as '**/*.md'.", show_default="known kinds", rich_help_panel=_INPUT),
]
InputFormatOpt = Annotated[
    str | None,
    option(
        "--input-format",
        help="What all files and stdin hold: txt, md, html, pdf, csv, tsv, json, jsonl or parquet.",
        show_default="by the ending, txt for stdin",
        rich_help_panel=_INPUT,
    ),
]
SplitOpt = Annotated[
    str | None,
    option(
        "--split",
        help="line, paragraph, file, tokens:N or tokens:N:OVERLAP.",
        show_default="lines of txt, rows of tables, paragraphs of others",
        rich_help_panel=_INPUT,
    ),
]
ColumnOpt = Annotated[
    str | None,
    option("--column", help="Column of tables with the text.", show_default="text", rich_help_panel=_INPUT),
]
IdColumnOpt = Annotated[
    str | None,
    option(
        "--id-column", help="Column of tables that names the rows. Lines of JSONL may lack it.", rich_help_panel=_INPUT
    ),
]
EncodingOpt = Annotated[
    str | None,
    option("--encoding", help="Of text files, as cp1252.", show_default="detected", rich_help_panel=_INPUT),
]
OutputOpt = Annotated[
    Path | None,
    option(
        "--output",
        "-o",
        help="File to write; its ending tells the format.",
        show_default="stdout",
        rich_help_panel=_OUTPUT,
    ),
]
FormatOpt = Annotated[
    str | None,
    option(
        "--format",
        "-f",
        help="json, jsonl, npy, npz, parquet or sqlite.",
        show_default="json",
        rich_help_panel=_OUTPUT,
    ),
]
PrecisionOpt = Annotated[
    str,
    option("--precision", help="Of the vectors: float32, float16, int8 or binary.", rich_help_panel=_OUTPUT),
]
DimensionsOpt = Annotated[
    int | None,
    option("--dimensions", "-d", min=1, help="Cut vectors to so many and normalize again.", rich_help_panel=_OUTPUT),
]
ResumeOpt = Annotated[bool, option("--resume", help="Continue a job that broke off.", rich_help_panel=_OUTPUT)]
UpdateOpt = Annotated[
    bool,
    option("--update", help="Replace existing output, keeping vectors of unchanged texts.", rich_help_panel=_OUTPUT),
]
ForceOpt = Annotated[
    bool,
    option("--force", help="Replace existing output, and what a broken-off job left.", rich_help_panel=_OUTPUT),
]
PromptOpt = Annotated[str | None, option("--prompt", help="Words to put before every text.", rich_help_panel=_TEXTS)]
PromptNameOpt = Annotated[
    str | None, option("--prompt-name", help="Put this prompt of the model before every text.", rich_help_panel=_TEXTS)
]
TruncateOpt = Annotated[
    bool,
    option(
        "--truncate/--no-truncate",
        help="Cut texts that are too long instead of refusing them.",
        rich_help_panel=_TEXTS,
    ),
]
StrictOpt = Annotated[
    bool,
    option(
        "--strict",
        help="End at the first text that is refused, instead of going on without it.",
        rich_help_panel=_TEXTS,
    ),
]
EngineOpt = Annotated[
    str,
    option(
        "--engine",
        help="local, or ray: on all machines of a Ray cluster, into a folder of Parquet parts.",
        rich_help_panel=_CLUSTER,
    ),
]
RayAddressOpt = Annotated[
    str,
    option(
        "--ray-address",
        help="Head of the cluster as host:port; auto: the one this machine is in; local: this machine alone.",
        rich_help_panel=_CLUSTER,
    ),
]
RayCoresOpt = Annotated[
    int | None,
    option(
        "--ray-cores",
        min=1,
        help="Cores of each worker, which has a model of its own.",
        show_default="those of the smallest machine",
        rich_help_panel=_CLUSTER,
    ),
]
