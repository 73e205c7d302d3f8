# SPDX-License-Identifier: Apache-2.0
"""error_list.py HEADER OUTPUT: the header's list of errors, for Python."""

import re
import sys

header, output = sys.argv[1:]
entries = re.findall(r'X\((\d+), (\w+), +"([^"]*)"\)', open(header, encoding="utf-8").read())
if not entries or [int(number) for number, _, _ in entries] != list(range(len(entries))):
    sys.exit(f"{header}: ROPEWAY_ERROR_MAP is not as expected")
with open(output, "w", encoding="utf-8") as file:
    file.write("# SPDX-License-Identifier: Apache-2.0\n# Made from <ropeway.h>.\nERRORS = [\n")
    file.writelines(f"    ({number}, {name.removeprefix('ERR_')!r}, {text!r}),\n" for number, name, text in entries)
    file.write("]\n")
