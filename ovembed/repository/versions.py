"""What each release of OVMS (OpenVINO Model Server) can do with an embeddings model, and which layout it wants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from ovembed.spec import Pooling

Layout = Literal["classic", "ov"]

_RELEASE = re.compile(r"([0-9]+\.[0-9]+)(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class OvmsVersion:
    """One minor release; its patch releases do not differ in anything told here.

    `layout` is the one of the two that we write for it: classic (encoder and tokenizer as models of their own)
    or ov (one node that loads both). `graph_options` are those of its calculator that have an effect on some
    model; one it does not know keeps the graph from loading. `poolings` are the ones it does right over token
    vectors. `truncation` is how it can be made to cut long texts, `graph_pool` whether it may keep started graphs
    for embeddings. `subconfig` says that subconfig.json must lie beside the graph. `unknown_operations` are those
    of tokenizers that it has not, or has in another form.
    """

    name: str
    layout: Layout
    graph_options: frozenset[str]
    poolings: frozenset[Pooling]
    truncation: Literal["tokenizer", "graph", "none"]
    graph_pool: bool
    subconfig: bool
    unknown_operations: frozenset[str] = frozenset()

    def pools(self, pooling: Pooling) -> bool:
        """False where the model must bring vectors that are pooled already."""
        return pooling in self.poolings

    @property
    def truncates(self) -> bool:
        """By the graph's option, or (classic) by a maximum length inside the tokenizer."""
        return self.truncation != "none"

    def older_than(self, name: str) -> bool:
        return _numbers(self.name) < _numbers(name)


_CLASSIC_OPTIONS = frozenset({"normalize_embeddings"})
_FIRST_OV_OPTIONS = _CLASSIC_OPTIONS | {"models_path", "target_device", "plugin_config"}
_OPTIONS = _FIRST_OV_OPTIONS | {"pooling", "truncate"}

_CLS: frozenset[Pooling] = frozenset({"cls"})
_CLS_LAST: frozenset[Pooling] = frozenset({"cls", "last"})
_ALL: frozenset[Pooling] = frozenset({"cls", "last", "mean"})


def _classic(name: str, *unknown_operations: str) -> OvmsVersion:
    return OvmsVersion(
        name,
        "classic",
        _CLASSIC_OPTIONS,
        _CLS,
        "tokenizer",
        graph_pool=False,
        subconfig=True,
        unknown_operations=frozenset(unknown_operations),
    )


def _full(name: str) -> OvmsVersion:
    return OvmsVersion(name, "ov", _OPTIONS, _ALL, "graph", graph_pool=False, subconfig=False)


# Up to 2025.3, a graph without subconfig.json has the model's own config.json taken for it. The pool of graphs
# came with 2026.2, where it breaks embeddings. 2026.3 knows `truncate` and does nothing about it.
SUPPORTED = (
    _classic("2025.0", "UnigramTokenizer", "CharsMapNormalization"),
    _classic("2025.1"),
    OvmsVersion("2025.2", "ov", _FIRST_OV_OPTIONS, _CLS, "none", graph_pool=False, subconfig=True),
    OvmsVersion("2025.3", "ov", _OPTIONS, _CLS_LAST, "graph", graph_pool=False, subconfig=True),
    _full("2025.4"),
    _full("2026.0"),
    _full("2026.1"),
    _full("2026.2"),
    OvmsVersion("2026.3", "ov", _OPTIONS, _ALL, "none", graph_pool=True, subconfig=False),
)
NEWEST = SUPPORTED[-1]

# The last release whose graphs can be classic ones.
_LAST_WITH_CLASSIC = "2025.3"


def serving(made_for: OvmsVersion) -> tuple[OvmsVersion, ...]:
    """The releases that serve what is laid out for that one, the oldest first.

    An older one may lack its graph's options or the operations of its tokenizer.
    """
    later = SUPPORTED[SUPPORTED.index(made_for) :]
    if made_for.layout == "ov":
        return later
    return tuple(version for version in later if _numbers(version.name) <= _numbers(_LAST_WITH_CLASSIC))


def ovms_version(text: str) -> OvmsVersion:
    """The release of that name, "2025.4" or "2025.4.1". Raises InputError for one that is not known here."""
    release = _RELEASE.fullmatch(text)
    for version in SUPPORTED:
        if release and release[1] == version.name:
            return version
    known = f"There is: {', '.join(version.name for version in SUPPORTED)}"
    if release and _numbers(release[1]) > _numbers(NEWEST.name):
        raise InputError(f"OVMS {text} is newer than this ovembed knows. {known}; take {NEWEST.name}.")
    raise InputError(f"'{text}' is no OVMS version that serves embeddings. {known}.")


def serving_all(names: Collection[str]) -> OvmsVersion | None:
    """The oldest release that serves models laid out for each of these; None when there is none."""
    able = [set(serving(ovms_version(name))) for name in names]
    return next((version for version in SUPPORTED if all(version in versions for versions in able)), None)


def _numbers(name: str) -> list[int]:
    return [int(part) for part in name.split(".")]
