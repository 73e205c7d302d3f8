# SPDX-License-Identifier: Apache-2.0
"""Programs read a pooled buffer only as far as it is filled: they lower sizes in the metadata, or leave descriptors out at
its end. It works on stock; here with the drop-in on one side or both."""
import asyncio
import unittest

from dropin_site import modules  # first: it skips
from support import PATIENCE

SIZES = [100_000, 50]
# What is asked for of two descriptors of these sizes.
PREFIXES = [[40], [100_000], [40, 50], [100_000, 50], [100_000, 7], [3, 7]]


def cut(module, metadata, sizes):
    """As a program does it: the models are frozen, their JSON is not."""
    text = metadata.model_dump()
    text["descriptors"] = text["descriptors"][: len(sizes)]
    for descriptor, size in zip(text["descriptors"], sizes):
        descriptor["size"] = size
    return module.RdmaMetadata.model_validate(text)


class Prefix(unittest.TestCase):
    def move(self, passive, one, active, other, is_write):
        import torch

        async def once(sizes):
            source = [torch.arange(size).remainder(250).add(1).to(torch.uint8) for size in SIZES]
            room = [torch.zeros(size, dtype=torch.uint8) for size in SIZES]
            offered, local = (room, source) if is_write else (source, room)
            create = one.create_writable if is_write else one.create_readable
            with await create([passive.Descriptor(tensor) for tensor in offered]) as offer:
                metadata = cut(active, offer.metadata(), sizes)
                local = [active.Descriptor(tensor[:size]) for tensor, size in zip(local, sizes)]
                begun = other.begin_write(local, metadata) if is_write else other.begin_read(metadata, local)
                with await begun as operation:
                    await operation.wait_for_completion()
                    await offer.wait_for_completion()
                    self.assertEqual((str(operation.status), str(offer.status)), ("DONE", "DONE"))
            for index, (here, there) in enumerate(zip(room, source)):
                size = sizes[index] if index < len(sizes) else 0
                self.assertTrue(torch.equal(here[:size], there[:size]))
                self.assertEqual(int(here[size:].sum()), 0)

        async def main():
            for sizes in PREFIXES:
                with self.subTest(sizes):
                    await asyncio.wait_for(once(sizes), PATIENCE)

        asyncio.run(main())

    def test_of_what_stock_offers(self):
        stock, ours = modules()
        one, other = stock.Connector("stock-passive"), ours.Connector("ropeway-active")
        for is_write in (False, True):
            self.move(stock, one, ours, other, is_write)

    def test_of_what_the_drop_in_offers_to_stock(self):
        stock, ours = modules()
        one, other = ours.Connector("ropeway-passive"), stock.Connector("stock-active")
        for is_write in (False, True):
            self.move(ours, one, stock, other, is_write)

    def test_between_drop_ins(self):
        _, ours = modules()
        one, other = ours.Connector("ropeway-passive"), ours.Connector("ropeway-active")
        for is_write in (False, True):
            self.move(ours, one, ours, other, is_write)


if __name__ == "__main__":
    unittest.main()
