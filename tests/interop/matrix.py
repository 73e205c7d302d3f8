# SPDX-License-Identifier: Apache-2.0
"""matrix.py PYTHON TRANSPORT: the drop-in here against the stock peer of another environment: reads and writes in both
directions, of one and several descriptors, with either form of the metadata. Prints "works", or exits with what failed.
TRANSPORT: of rope.TRANSPORTS."""
import sys

from dropin_site import ON_ROPEWAY  # first: it skips
from support import Failed, Stock

SIZES = [[1], [4096], [(4 << 20) + 1], [1 << 16, 1, 300_001]]


def check(condition, what):
    if not condition:
        raise SystemExit(f"fails: {what}")


def move(passive, active, number, sizes, hexadecimal):
    read, written = 2 * number, 2 * number + 1
    active.read(read, passive.readable(read, sizes, read % 200, hexadecimal), sizes)
    active.write(written, passive.writable(written, sizes, hexadecimal), sizes, written % 200)
    for peer in (active, passive):
        check(set(peer.wait([read, written])) == {"COMPLETE"}, f"{sizes} does not complete")
    check(active.holds(read, read % 200) and passive.holds(written, written % 200), f"{sizes} arrives changed")
    for peer in (active, passive):
        peer.release([read, written])


def main(python, transport):
    stock = Stock(transport, "stock", python=python)
    try:
        ours = Stock(transport, "ropeway", ON_ROPEWAY)
        try:
            for passive, active in ((stock, ours), (ours, stock)):
                for number, (sizes, hexadecimal) in enumerate([(sizes, False) for sizes in SIZES] + [([100], True)]):
                    move(passive, active, number, sizes, hexadecimal)
        finally:
            ours.kill()
    finally:
        stock.kill()
    print("works")


try:
    main(*sys.argv[1:])
except Failed as error:
    sys.exit(f"fails: {error}")
