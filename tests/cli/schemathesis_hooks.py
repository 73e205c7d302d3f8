# SPDX-License-Identifier: Apache-2.0
"""What test_schemathesis.py adds to schemathesis, which loads this file itself."""
import os
import re

import schemathesis

# What a request that has its schema may be refused for with 400: a schema knows no bytes of a name, and
# no limit of a member that it does not name.
BEYOND_A_SCHEMA = re.compile(r"the name (of the object|in 'after') |the body is not JSON: "
                             r"(too big (negative )?integer|real number overflow|NUL byte in object key|\\u0000 is not allowed)")


@schemathesis.hook
def after_call(context, case, response):
    """Counts the refusals: the log must tell of each."""
    if response.status_code >= 400:
        with open(os.environ["REFUSALS"], "a", encoding="utf-8") as file:
            file.write(f"{response.status_code} {response.request.method} {response.request.url[:200]!a}\n")


@schemathesis.check
def described_requests_are_taken(ctx, response, case):
    """As positive_data_acceptance, which knows statuses only."""
    if case.meta is not None and case.meta.generation.mode.is_positive and response.status_code == 400:
        sentence = response.json()["error"]
        assert BEYOND_A_SCHEMA.match(sentence), sentence
