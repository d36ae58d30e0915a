"""The protobuf messages of an embeddings graph: the part of MediaPipe's and OVMS's definitions that we use.

Text format goes by names, so the names are theirs. The numbers are theirs too where they have stayed the same
(OVMS renumbered its options between releases). The pool is our own: definitions from an installed mediapipe do
not meet these.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, text_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "mediapipe"
_STRING, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BOOL


def _field(name: str, number: int, kind: int = _STRING, *, of: str | None = None, repeated: bool = False) -> Any:
    """`of` is the full name of the field's own type, for messages and enums."""
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    return _Field(name=name, number=number, type=kind, type_name=of, label=label)


def _message(name: str, *fields: Any, **nested: Any) -> Any:
    return descriptor_pb2.DescriptorProto(name=name, field=fields, **nested)


def _enum(name: str, *values: str) -> Any:
    numbered = [descriptor_pb2.EnumValueDescriptorProto(name=value, number=at) for at, value in enumerate(values)]
    return descriptor_pb2.EnumDescriptorProto(name=name, value=numbered)


def _graph() -> Any:
    """Fields in the order they are written in."""
    return _message(
        "CalculatorGraphConfig",
        _field("input_stream", 10, repeated=True),
        _field("output_stream", 15, repeated=True),
        _field("node", 1, _Field.TYPE_MESSAGE, of=f".{_PACKAGE}.CalculatorGraphConfig.Node", repeated=True),
        nested_type=[
            _message(
                "Node",
                _field("name", 1),
                _field("calculator", 2),
                _field("input_side_packet", 5, repeated=True),
                _field("output_side_packet", 6, repeated=True),
                _field("input_stream", 3, repeated=True),
                _field("output_stream", 4, repeated=True),
                _field("node_options", 8, _Field.TYPE_MESSAGE, of=".google.protobuf.Any", repeated=True),
            )
        ],
    )


def _ov_options() -> Any:
    name = "EmbeddingsCalculatorOVOptions"
    return _message(
        name,
        _field("models_path", 1),
        _field("normalize_embeddings", 2, _BOOL),
        _field("pooling", 5, _Field.TYPE_ENUM, of=f".{_PACKAGE}.{name}.Pooling"),
        _field("truncate", 6, _BOOL),
        _field("target_device", 3),
        _field("plugin_config", 4),
        enum_type=[_enum("Pooling", "CLS", "LAST", "MEAN")],
    )


def _pool() -> Any:
    """No default values: what a graph leaves out is for its reader to know."""
    pool = DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="ovembed/graph.proto",
        package=_PACKAGE,
        syntax="proto2",
        dependency=[any_pb2.DESCRIPTOR.name],
        message_type=[
            _graph(),
            _message("OpenVINOModelServerSessionCalculatorOptions", _field("servable_name", 1)),
            _message("EmbeddingsCalculatorOptions", _field("normalize_embeddings", 1, _BOOL)),
            _ov_options(),
        ],
    )
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def _class_of(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


GraphConfig = _class_of("CalculatorGraphConfig")
SessionOptions = _class_of("OpenVINOModelServerSessionCalculatorOptions")
ClassicOptions = _class_of("EmbeddingsCalculatorOptions")
OvOptions = _class_of("EmbeddingsCalculatorOVOptions")


def to_text(graph: Any) -> str:
    return str(text_format.MessageToString(graph, use_index_order=True, descriptor_pool=_POOL))


def from_text(text: str) -> Any:
    """A GraphConfig; fields that are not defined here are passed over. Raises ValueError for what is none."""
    try:
        return text_format.Parse(text, GraphConfig(), allow_unknown_field=True, descriptor_pool=_POOL)
    except text_format.ParseError as error:
        raise ValueError(" ".join(str(error).split())) from error


def options_of(node: Any, kind: Any) -> Any:
    """The node's options of that message class, or None. Raises ValueError for bytes that are no such message."""
    for packed in node.node_options:
        options = kind()
        try:
            if packed.Unpack(options):
                return options
        except DecodeError as error:
            raise ValueError(f"{kind.DESCRIPTOR.name}: {error}") from error
    return None
