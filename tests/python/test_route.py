# SPDX-License-Identifier: Apache-2.0
"""Connector.route(): which way leads to a peer, told without using its metadata."""

import json

import pytest

import ropeway


def ways(report, use):
    return [way["link"] for way in report["ways"] if way["use"] == use]


def test_the_way_is_told_and_the_metadata_can_still_be_used():
    source, target = bytearray(b"x" * 100_000), bytearray(100_000)
    with ropeway.Connector("owner") as owner, ropeway.Connector(transports="stream") as user:
        with owner.create_readable(source) as offer:
            for metadata in (offer.metadata, offer.metadata.encode(), json.loads(offer.metadata)):
                report = user.route(metadata)
                assert report["usable"] and report["error"] is None
                assert report["peer"]["name"] == "owner" and report["same_host"] is True
                assert ways(report, "first") == ["stream"]
            assert report["ways"][0]["why"] == "the option transports leaves it out here"
            with user.begin_read(offer.metadata, target) as read:
                read.wait(20)
                assert read.path.startswith("tcp/")
        assert target == source


def test_the_device_decides_and_why_there_is_no_way_is_told():
    with ropeway.Connector() as owner, ropeway.Connector(encryption="required") as user:
        with owner.create_readable(bytearray(9)) as offer:
            report = user.route(offer.metadata, "cuda:0")
            assert not report["usable"] and report["device_memory"]
            assert report["error"]["name"] == "ROPEWAY_ERR_DEVICE"
            assert 'option encryption is "required"' in report["error"]["text"]
            assert user.route(offer.metadata, ropeway.Device("cpu"))["usable"]


def test_the_metadata_of_a_typed_offer_will_do():
    with ropeway.Connector() as connector, connector.offer({"a": b"12345678"}) as offer:
        assert connector.route(offer.metadata)["offer"]["bytes"] == 8


def test_what_is_no_metadata_is_refused():
    with ropeway.Connector() as connector:
        with pytest.raises(ropeway.RopewayError, match="must be a JSON object"):
            connector.route("")
        with pytest.raises(ropeway.ArgumentError, match="the metadata is a int"):
            connector.route(7)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            connector.route("{}\0")
        with pytest.raises(ropeway.RopewayError):
            connector.route("{}", "tape")
    with pytest.raises(ropeway.RopewayError, match="closed"):
        connector.route("{}")
