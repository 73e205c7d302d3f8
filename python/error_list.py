# SPDX-License-Identifier: Apache-2.0
"""error_list.py HEADER OUTPUT: the header's list of errors, for Python."""

import re
import sys

header, output = sys.argv[1:]
entries = re.findall(r'X\((\d+), (\w+), +"([^"]*)"\)', open(header, encoding="utf-8").read())
if not entries or [int(number) for number, _, _ in entries] != list(range(len(entries))):
    sys.exit(f"{header}: ROPEWAY_ERROR_MAP is not as expected")
with open(output, "w", encoding="utf-8") as file:
    file.write("# SPDX-License-Identifier: Apache-2.0\n# Made from <ropeway.h>.\nfrom enum import IntEnum\n\n\n")
    file.write('class ErrorCode(IntEnum):\n    """ropeway_error_t of <ropeway.h>, without its prefix."""\n\n')
    file.writelines(f"    {name.removeprefix('ERR_')} = {number}\n" for number, name, _ in entries)
    file.write("\n\nTEXTS = {\n")
    file.writelines(f"    {number}: {text!r},\n" for number, _, text in entries)
    file.write("}\n")
