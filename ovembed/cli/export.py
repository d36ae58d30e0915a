from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ovembed.cli import report
from ovembed.cli.options import JsonOpt, QuietOpt, option
from ovembed.cli.output import Talk, print_json, program
from ovembed.spec import Pooling, Precision, WeightFormat

if TYPE_CHECKING:
    from ovembed.repository import ModelEntry

_FROM_MODEL = "what the model's files say"


def export(
    source: Annotated[str | None, typer.Argument(help="Hugging Face id, or the folder of a model.")] = None,
    name: Annotated[str | None, option("--name", "--model_name", help="Served name.", show_default="the id")] = None,
    repository: Annotated[
        Path, option("--repository", "-r", "--model_repository_path", help="Folder to put the model in.")
    ] = Path("models"),
    config: Annotated[
        Path | None,
        option(
            "--config",
            "--config_file_path",
            help="OVMS configuration file to add the model to.",
            show_default="<repository>/config_embeddings.json",
        ),
    ] = None,
    weight_format: Annotated[
        WeightFormat | None,
        option("--weight-format", help="Precision of the weights.", show_default="int8, or a quantized source's"),
    ] = None,
    quant_mode: Annotated[
        Literal["int8", "auto"] | None,
        option(
            "--quant-mode",
            help="int8: weights and activations, calibrated; auto: the fastest precision that is near enough.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        option("--calibration", help="Texts to calibrate on, one on each line.", show_default="bundled texts"),
    ] = None,
    pooling: Annotated[Pooling | None, option("--pooling", help="How to pool.", show_default=_FROM_MODEL)] = None,
    normalize: Annotated[
        bool | None,
        option(
            "--normalize/--no-normalize",
            " /--skip_normalize",
            help="Scale vectors to unit length.",
            show_default=_FROM_MODEL,
        ),
    ] = None,
    max_length: Annotated[
        int | None, option("--max-length", min=3, help="Longest input in tokens.", show_default=_FROM_MODEL)
    ] = None,
    ovms_version: Annotated[
        str | None,
        option("--ovms-version", help="OVMS that will serve it: decides the layout.", show_default="the newest"),
    ] = None,
    target_device: Annotated[
        str, option("--target-device", "--target_device", help="Device that OVMS runs the model on.")
    ] = "CPU",
    num_streams: Annotated[
        int, option("--num-streams", "--num_streams", min=1, help="Streams that OVMS runs the model with.")
    ] = 1,
    truncate: Annotated[bool, option("--truncate", help="Let OVMS cut texts that are too long.")] = False,
    revision: Annotated[str | None, option("--revision", help="Branch, tag or commit on the Hub.")] = None,
    min_similarity: Annotated[
        float | None,
        option(
            "--min-similarity",
            min=0,
            max=1,
            help="Fail when the mean cosine to the source model is below.",
            show_default="by the precision",
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool, option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    allow_pickle: Annotated[
        bool,
        option(
            "--allow-pickle", help="Read pytorch_model.bin, which can run code, where there is no safetensors file."
        ),
    ] = False,
    overwrite: Annotated[
        bool, option("--overwrite", "--overwrite_models", help="Replace a model of that name.")
    ] = False,
    source_model: Annotated[str | None, option("--source_model", hidden=True)] = None,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Make a checked OpenVINO model of a Hugging Face one."""
    from ovembed.export import ExportRequest, export_model
    from ovembed.repository import ModelRepository

    chosen = source or source_model
    if chosen is None:
        raise typer.BadParameter("name a Hugging Face id or a folder.", param_hint="SOURCE")
    if weight_format is not None and quant_mode is not None:
        raise typer.BadParameter("choose --weight-format or --quant-mode, not both.", param_hint="--quant-mode")
    precision: Precision | Literal["auto"] | None = weight_format
    if quant_mode is not None:
        precision = "auto" if quant_mode == "auto" else "full-int8"
    if calibration is not None and quant_mode is None:
        raise typer.BadParameter("calibrates --quant-mode; add it.", param_hint="--calibration")
    request = ExportRequest(
        source=chosen,
        name=name,
        revision=revision,
        precision=precision,
        calibration=calibration,
        pooling=pooling,
        normalize=normalize,
        max_tokens=max_length,
        ovms_version=ovms_version,
        target_device=target_device,
        num_streams=num_streams,
        truncate=truncate,
        min_similarity=min_similarity,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        overwrite=overwrite,
    )
    talk = Talk(quiet=quiet)
    with talk.steps() as step:
        entry = export_model(request, ModelRepository(repository, config), on_step=step, on_download=step.progress)
    if as_json:
        print_json(report.entry_json(entry))
    else:
        show_entry(talk, entry)
        talk.say(f"Next: {program()} serve --repository {repository} --model {entry.name}")


def show_entry(talk: Talk, entry: ModelEntry) -> None:
    for columns, rows in report.tables(entry):
        talk.table(columns, rows)
        talk.say("")
    for line in report.closing(entry):
        talk.say(line)
    talk.say(f"Model '{entry.name}' is in {entry.folder}", "bold")
