# SPDX-License-Identifier: Apache-2.0
"""How the drop-in is built: what its files may know of each other, and that each public member says what it does."""

import ast
import enum
import inspect
import typing
from pathlib import Path

import pytest

import ropeway
import ropeway.nixl_connect as connect

FILES = sorted(Path(connect.__file__).parent.glob("*.py"))
TREES = {path.stem: ast.parse(path.read_text()) for path in FILES}


def imports(tree):
    """The files of this package that one imports, wherever in it."""
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1}


def test_the_files_import_each_other_in_one_direction():
    left = {name: imports(tree) for name, tree in TREES.items()}
    assert left["__init__"] == {"_connection", "_connector", "_memory", "_operations"}
    while left:
        free = {name for name, needs in left.items() if not needs & left.keys()}
        assert free, f"these import each other: {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


@pytest.mark.parametrize("name", TREES)
def test_imports_stand_at_the_top(name):
    inner = [node for node in ast.walk(TREES[name]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert not [sub.lineno for node in inner for sub in ast.walk(node) if isinstance(sub, (ast.Import, ast.ImportFrom))]


@pytest.mark.parametrize("name", TREES)
def test_no_class_reaches_into_another(name):
    """A private attribute is one's own."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            assert is_own, f"{name}.py:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_opens_with_its_role_and_is_short(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0" and lines[1].startswith('"""')
    assert len(lines) <= 500 and max(map(len, lines)) <= 130


def members():
    """Every public class, and every public member that this package gives it."""
    found = [(name, getattr(connect, name)) for name in connect.__all__ if isinstance(getattr(connect, name), type)]
    for name, kind in found[:]:
        fields = {item.name for item in kind} if issubclass(kind, enum.Enum) else getattr(kind, "model_fields", {})
        for base in kind.__mro__:
            if base.__module__.startswith("ropeway"):
                found += [
                    (f"{name}.{member}", value) for member, value in vars(base).items()
                    if (not member.startswith("_") or member == "__init__") and member not in fields
                    and member != "model_config" and not isinstance(value, dict)
                ]  # fmt: skip
    return sorted(dict(reversed(found)).items())


def functions_of(value):
    if isinstance(value, property):
        return [value.fget]
    if isinstance(value, (classmethod, staticmethod)):
        return [value.__func__]
    if hasattr(value, "func"):  # a cached property
        return [value.func]
    return [value] if inspect.isfunction(value) else [getattr(value, "wrapped", value)]


@pytest.mark.parametrize("name, value", members(), ids=[name for name, _ in members()])
def test_every_public_member_has_a_docstring_a_signature_and_types(name, value):
    for part in functions_of(value):
        documented = inspect.getdoc(part) or ""
        assert len(documented) > 15, f"{name} has no docstring"
        if inspect.isfunction(part):
            hints = typing.get_type_hints(part)
            wanted = [parameter for parameter in inspect.signature(part).parameters if parameter not in ("self", "cls")]
            assert [parameter for parameter in wanted if parameter not in hints] == []
            assert "return" in hints


def test_annotations_of_the_native_package_can_be_evaluated():
    """By those who ask for them, though typing is not imported."""
    kinds = [getattr(ropeway, name) for name in ropeway.__all__ if isinstance(getattr(ropeway, name), type)]
    parts = [part for kind in kinds if not issubclass(kind, (enum.Enum, tuple))
             for name, value in vars(kind).items() if not name.startswith("_") for part in functions_of(value)]  # fmt: skip
    hints = {part.__qualname__: typing.get_type_hints(part) for part in parts if inspect.isfunction(part)}
    assert len(hints) > 30 and hints["Operation.wait"]["timeout"] == (float | None)
    assert typing.get_type_hints(ropeway.Connector.__init__)["stall"] == (float | None)
    assert typing.get_type_hints(ropeway.Progress) == {"done": int, "total": int}
    assert typing.get_origin(ropeway.Operation[int]) is ropeway.Operation


def test_there_are_as_many_members_as_expected():
    """That the list above finds them."""
    assert len(members()) > 110
