"""The house plan, held to: which module may import which, and where the heavy libraries live."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ovembed
from ovembed import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(ovembed.__file__).parent

LEVELS = (
    {"errors"},
    {"spec", "protocols"},
    {"vectors", "batches", "cores", "admission", "wire", "repository", "corpus"},
    {"engine", "hub", "plans", "search"},
    {"local", "packed", "remote", "export"},
    {"targets", "verification"},
    {"http", "serving"},
    {"bench", "launch", "deploy", "cluster", "server", "gateway"},
    {"cli"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# The export tries what it made as a server would; the embed job cuts vectors between reading and writing; a deployment
# starts OVMS as a launch does.
ALLOWED_BESIDE = {("export", "local"), ("corpus", "vectors"), ("deploy", "launch")}

HOMES = {
    "openvino": {"engine", "export"},
    "openvino_tokenizers": {"engine", "export"},
    "optimum": {"export"},
    "nncf": {"export"},
    "torch": {"export"},
    "transformers": {"export"},
    "typer": {"cli"},
    "rich": {"cli"},
    "starlette": {"http", "server", "gateway"},
    "uvicorn": {"http"},
    "prometheus_client": {"server", "gateway"},
    "google": {"repository"},
    "pyarrow": {"corpus"},
    "pypdfium2": {"corpus"},
    "bs4": {"corpus"},
    "jinja2": {"deploy"},
    "pydantic": {"gateway"},
    "ray": {"cluster"},
}
INSIDE_FUNCTIONS = {"optimum", "nncf", "torch", "transformers", "pyarrow", "pypdfium2", "bs4", "ray"}


@dataclass(frozen=True)
class Import:
    """`module` imports `target`, both by their full names; `at_top` if it does so when it is imported itself."""

    module: str
    target: str
    line: int
    at_top: bool

    @property
    def room(self) -> str:
        return room_of(self.module)

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def room_of(module: str) -> str:
    """ovembed.server.app -> server; the package itself has no room."""
    return module.split(".")[1] if "." in module else ""


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("ovembed", *path.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        if room_of(name) != "examples":
            found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


MODULES = modules()


def is_package(module: str) -> bool:
    return (PACKAGE.parent / Path(*module.split(".")) / "__init__.py").exists()


def statements(node: ast.AST, *, at_top: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import that can run, and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_top
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for alternative in child.orelse:
                yield from statements(ast.Module([alternative], []), at_top=at_top)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(child, at_top=at_top and not inside)


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    for statement, at_top in statements(tree):
        if isinstance(statement, ast.Import):
            targets = [alias.name for alias in statement.names]
        else:
            targets = [resolved(module, statement, alias.name) for alias in statement.names]
        for target in targets:
            yield Import(module, target, statement.lineno, at_top)


def resolved(module: str, statement: ast.ImportFrom, name: str) -> str:
    """The module that `from x import name` reads: x.name where that is a module, the home of a lazy name, else x."""
    origin = statement.module or ""
    if statement.level:
        here = module.split(".") if is_package(module) else module.split(".")[:-1]
        base = here[: len(here) - statement.level + 1]
        origin = ".".join([*base, *filter(None, [statement.module])])
    if f"{origin}.{name}" in MODULES:
        return f"{origin}.{name}"
    return ovembed._HOMES.get(name, origin) if origin == "ovembed" else origin


IMPORTS = [found for module, tree in MODULES.items() for found in imports_of(module, tree)]


def points_left(arrow: Import) -> bool:
    target = room_of(arrow.target)
    if not target or target == arrow.room or (arrow.room, target) in ALLOWED_BESIDE:
        return True
    return LEVEL[target] < LEVEL[arrow.room]


def test_every_module_stands_in_the_order() -> None:
    assert {room_of(module) for module in MODULES} - {""} <= LEVEL.keys()


def test_the_walk_sees_the_imports_there_are() -> None:
    seen = {(arrow.module, arrow.target, arrow.at_top) for arrow in IMPORTS}
    assert ("ovembed.local", "ovembed.admission", True) in seen
    assert ("ovembed.targets", "ovembed.engine", False) in seen
    assert ("ovembed.export.reference", "torch", False) in seen
    assert ("ovembed.engine.runtime", "openvino", True) in seen
    assert not any(module == "ovembed.batches" and target.startswith("collections") for module, target, _ in seen)


def test_a_module_imports_from_its_left_only() -> None:
    arrows = [arrow for arrow in IMPORTS if arrow.target.split(".")[0] == "ovembed" and arrow.room]
    assert [str(arrow) for arrow in arrows if not points_left(arrow)] == []


def test_the_package_itself_imports_nothing_of_its_own() -> None:
    assert [str(arrow) for arrow in IMPORTS if not arrow.room and arrow.target.startswith("ovembed")] == []


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_library_has_its_home(library: str) -> None:
    uses = [arrow for arrow in IMPORTS if arrow.target.split(".")[0] == library]
    assert [str(arrow) for arrow in uses if arrow.room not in HOMES[library]] == []
    if library in INSIDE_FUNCTIONS:
        assert [str(arrow) for arrow in uses if arrow.at_top] == []


def test_nothing_below_the_command_line_prints() -> None:
    prints = [
        f"{module}:{node.lineno}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if room_of(module) != "cli"
    ]
    assert prints == []


def drawn_tree() -> dict[str, str]:
    """Class -> parent, as the docstring of errors.py draws them."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines()[2:]:
        words = line.lstrip("│├└─ ")
        depth = (len(line) - len(words)) // 4
        name = words.split()[0]
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else "Exception"
    return parents


def test_every_error_stands_in_the_tree_drawn_above_them() -> None:
    classes = {
        name: kind.__base__.__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__ and kind.__base__ is not None
    }
    assert drawn_tree() == classes
