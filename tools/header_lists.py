# SPDX-License-Identifier: Apache-2.0
"""The lists in ropeway.h, read: what its macros ROPEWAY_..._MAP have in them."""

import ast
import operator
import pathlib
import re
from typing import NamedTuple, Optional

HEADER = pathlib.Path(__file__).resolve().parent.parent / "include/ropeway.h"
_LIMITS = {"UINT32_MAX": 2**32 - 1, "SIZE_MAX": 2**64 - 1}
_OPERATORS = {ast.LShift: operator.lshift, ast.Div: operator.floordiv}


class Option(NamedTuple):
    """kind: TEXT, NUMBER or OTHER. default, least, most: as in C; least and most are "" for OTHER."""

    kind: str
    type: str
    name: str
    default: str
    least: str
    most: str
    text: str


class Statistic(NamedTuple):
    """kind: COUNTER or GAUGE."""

    kind: str
    name: str
    unit: str
    text: str


def _entries(name: str) -> list[list[str]]:
    """The entries of a list, each with its macro's name first."""
    found = re.search(rf"#define {name}\(.*?\)\s*\\\n((?:.*\\\n)*.*\n)", HEADER.read_text(encoding="utf-8"))
    body = re.sub(r"\\\n", "\n", found[1]) if found else ""
    body = re.sub(r'"\s*"', "", body)  # texts of several lines
    entries = re.findall(r'(\b[A-Z]+)\(((?:[^"()]|"[^"]*")*)\)', body)
    fields = [[kind, *re.findall(r'"[^"]*"|[^,"\s][^,"]*', arguments)] for kind, arguments in entries]
    if not fields or len(fields) != len(re.findall(r"^\s*[A-Z]+\(", body, re.M)):
        raise ValueError(f"{HEADER}: {name} is not as expected")
    return [[field.strip().strip('"') for field in entry] for entry in fields]


def _options(name: str) -> list[Option]:
    return [Option(*entry[:4], *(entry[4:-1] or ("", "")), entry[-1]) for entry in _entries(name)]


def connector_options() -> list[Option]:
    return _options("ROPEWAY_CONNECTOR_OPTION_MAP")


def operation_options() -> list[Option]:
    return _options("ROPEWAY_OPERATION_OPTION_MAP")


def statistics() -> list[Statistic]:
    return [Statistic(*entry) for entry in _entries("ROPEWAY_STATS_MAP")]


def value(expression: str) -> Optional[int]:
    """The number that a C expression of the lists stands for; None for a name, such as ROPEWAY_INHERIT."""

    def evaluate(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return int(_OPERATORS[type(node.op)](evaluate(node.left), evaluate(node.right)))
        return _LIMITS[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)

    try:
        return evaluate(ast.parse(expression, mode="eval").body)
    except (KeyError, ValueError):
        return None
