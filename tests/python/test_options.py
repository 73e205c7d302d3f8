# SPDX-License-Identifier: Apache-2.0
"""A connector's options: those of <ropeway.h>, with what they refuse."""

import sys
from pathlib import Path

import pytest

import ropeway
from ropeway import _core

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import header_lists

PARAMETERS = {"name", "stall_ms", "deadline_ms", "transports", "net_devices", "interop", "log_level"}


def test_the_options_and_statistics_are_those_of_the_header():
    known = [option for option in header_lists.connector_options() if option.kind != "OTHER"]
    assert list(_core.OPTIONS) == [option.name for option in known]
    for option in known:
        if option.kind == "TEXT" or header_lists.value(option.default) is not None:
            assert _core.OPTIONS[option.name] == header_lists.value(option.default), option.name
    with ropeway.Connector() as connector:
        assert list(connector.stats()) == [statistic.name for statistic in header_lists.statistics()]


def test_every_option_is_taken_by_its_name():
    others = {name: value for name, value in _core.OPTIONS.items() if name not in PARAMETERS}
    ropeway.Connector(**others).close()
    for name in PARAMETERS - {"name", "transports", "net_devices", "interop"}:
        with pytest.raises(TypeError, match=f"no option '{name}'; it has advertise, "):
            ropeway.Connector(**{name: 1})


@pytest.mark.parametrize("option, error, sentence", [
    ({"window": 65}, ropeway.ArgumentError, "window is 65; it must be from 1 to 64"),
    ({"interop": 3}, ropeway.ArgumentError, "interop is 3; it must be from 0 to 2"),
    ({"window": 2**32}, ValueError, "window is 4294967296"),
    ({"window": "4"}, TypeError, "window is '4'; it must be an int"),
    ({"transports": 4}, TypeError, "transports is 4; it must be a str"),
    ({"name": ""}, ropeway.ArgumentError, "length of the connector option name is 0"),
])  # fmt: skip
def test_options_that_are_refused_are_named(option, error, sentence):
    with pytest.raises(error, match=sentence):
        ropeway.Connector(**option)
