"""Servers run an older OpenVINO than ours: what our packages write, said in a way that theirs read and compute rightly.

Checked with the releases of openvino, openvino_tokenizers and openvino_genai that the servers are built with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ovembed.errors import ExportError
from ovembed.export import ir
from ovembed.repository import SUPPORTED

if TYPE_CHECKING:
    from pathlib import Path

    import openvino as ov

    from ovembed.repository import OvmsVersion

# Hides a token without being infinite, in every precision that a model may be run in.
_HIDDEN = -65504.0
_UNICODE_FORMS = {"NFC", "NFD", "NFKC", "NFKD"}
# What CharsMapNormalization can do besides, by the names of its attributes.
_MORE_NORMALIZATION = ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces", "nmt")


def keep_finite(encoder: ov.Model) -> None:
    """Attention masks of numbers instead of booleans.

    OpenVINO up to 2025.2 makes NaN of boolean ones wherever a text is padded. Every release makes NaN of a row that
    is false throughout, which with a sliding window is a place of the padding that sees nothing but padding; the next
    layer spreads it to the whole text.
    """
    import openvino as ov
    from openvino import opset13 as ops

    for node in encoder.get_ops():
        if node.get_type_name() == "ScaledDotProductAttention" and node.get_input_size() > 3:
            mask = node.input_value(3)
            if mask.get_element_type() == ov.Type.boolean:
                numbers = ops.select(mask, ops.constant(np.float32(0)), ops.constant(np.float32(_HIDDEN)))
                node.input(3).replace_source_output(numbers.output(0))


def leave_out_token_types(encoder: ov.Model) -> None:
    """No input token_type_ids: they are zeros for every single text.

    Servers put ones there for texts that come as tokens, and classic ones fail when their tokenizer gives none.
    """
    from openvino import opset13 as ops

    inputs = {parameter.output(0).any_name: parameter for parameter in encoder.get_parameters()}
    if "token_type_ids" in inputs:
        ids, types = inputs["input_ids"], inputs["token_type_ids"]
        zeros = ops.convert(ops.subtract(ids, ids), types.get_element_type().get_type_name())
        for target in types.output(0).get_target_inputs():
            target.replace_source_output(zeros.output(0))
        encoder.remove_parameter(types)


def repeat_at_every_token(encoder: ov.Model) -> ov.Model:
    """Of a model that pools its tokens itself: (batch, 1, dimensions) becomes (batch, tokens, dimensions).

    Classic servers allot the output before the model runs, one row for each token, and fail on fewer.
    """
    import openvino as ov
    from openvino import opset13 as ops

    pooled = encoder.output(0).node.input_value(0)
    ids = next(port for port in encoder.inputs if port.any_name == "input_ids")
    shape = ops.concat([ops.shape_of(ids.node), ops.constant(np.array([1]))], 0)
    repeated = ops.broadcast(pooled, shape, broadcast_spec="BIDIRECTIONAL")
    repeated.output(0).set_names({"sentence_embedding"})
    return ov.Model([repeated], encoder.get_parameters(), encoder.get_friendly_name())


def rewrite_tokenizer(path: Path, version: OvmsVersion, *, truncate: bool) -> None:
    """Change an OpenVINO tokenizer into one for servers of that version.

    Since 2026.4 its limit of tokens hangs on a switch inside, where the servers expect a constant (they crash), and
    put a switch of their own. Classic servers have no such switch, nor the operation: there, texts are cut if
    `truncate` says so. Raises ExportError for what the version cannot run.
    """
    import openvino_tokenizers  # noqa: F401  (its import registers the operations)

    def change(tokenizer: ov.Model) -> None:
        for node in tokenizer.get_ordered_ops():
            if node.get_type_name() == "Truncate":
                _make_limit_constant(node)
                if version.layout == "classic":
                    _replace(node, _cut(node) if truncate else node.input_values()[:3])
            elif node.get_type_name() == "CharsMapNormalization" and version.layout == "classic":
                _replace(node, _normalize_in_steps(node))
        for sink in tokenizer.get_sinks():
            tokenizer.remove_sink(sink)
        for variable in tokenizer.get_variables():
            tokenizer.remove_variable(variable)
        _check_operations(tokenizer, version)

    ir.rewrite(path, change)


def _make_limit_constant(truncate: ov.Node) -> None:
    limit = truncate.input_value(3).get_node()
    if limit.get_type_name() == "Select":
        truncate.input(3).replace_source_output(limit.input_value(1))


def _cut(truncate: ov.Node) -> list[ov.Output]:
    """The first tokens of each text: ragged rows, given by where they begin and end."""
    from openvino import opset13 as ops

    begins, ends, tokens, limit = truncate.input_values()[:4]
    kept = ops.minimum(ops.subtract(ends, begins), limit)
    return [begins, ops.add(begins, kept).output(0), tokens]


def _normalize_in_steps(node: ov.Node) -> list[ov.Output]:
    """Unicode normalization and case folding by two operations, which one does now; itself where it does more."""
    from openvino_tokenizers import _get_factory

    attributes = node.get_attributes()
    form = attributes["normalization_form"].upper()
    has_map = node.get_input_size() > node.get_output_size()
    if has_map or any(attributes[name] for name in _MORE_NORMALIZATION):
        return list(node.outputs())
    steps = [("NormalizeUnicode", {"normalization_form": form})] if form in _UNICODE_FORMS else []
    if attributes["case_fold"]:
        steps.append(("CaseFold", {"encoding": "utf-8"}))
    outputs: list[ov.Output] = node.input_values()
    for operation, settings in steps:
        outputs = _get_factory().create(operation, outputs, settings).outputs()
    return outputs


def _replace(node: ov.Node, outputs: list[ov.Output]) -> None:
    for old, new in zip(node.outputs(), outputs, strict=True):
        for target in old.get_target_inputs():
            target.replace_source_output(new)


def _check_operations(tokenizer: ov.Model, version: OvmsVersion) -> None:
    unknown = version.unknown_operations & {node.get_type_name() for node in tokenizer.get_ops()}
    if unknown:
        able = ", ".join(other.name for other in SUPPORTED if not unknown & other.unknown_operations)
        raise ExportError(
            f"OVMS {version.name} cannot run the model's tokenizer: it lacks today's {min(unknown)}. "
            f"Serve with one that has it: {able}."
        )
