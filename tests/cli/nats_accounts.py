# SPDX-License-Identifier: Apache-2.0
"""Keys and JWTs of a NATS operator, an account and a user, signed with libsodium."""
import base64
import ctypes
import ctypes.util
import hashlib
import json
import os
import time

_sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
_sodium.sodium_init()

SEED = 18 << 3
OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3


def _crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc


def _nkey(data):
    return base64.b32encode(data + _crc16(data).to_bytes(2, "little")).decode().rstrip("=")


def _base64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    def __init__(self, kind):
        seed = os.urandom(32)
        public, self.secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
        _sodium.crypto_sign_seed_keypair(public, self.secret, seed)
        self.public = _nkey(bytes([kind]) + public.raw)
        self.seed = _nkey(bytes([SEED | kind >> 5, (kind & 31) << 3]) + seed)

    def sign(self, subject, name, claims):
        """A JWT about a subject."""
        body = {"iat": int(time.time()), "iss": self.public, "name": name, "sub": subject,
                "nats": {**claims, "version": 2}}
        body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
        text = ".".join(_base64(json.dumps(part).encode())
                        for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
        signature = ctypes.create_string_buffer(64)
        _sodium.crypto_sign_detached(signature, None, text.encode(),
                                     ctypes.c_ulonglong(len(text)), self.secret)
        return text + "." + _base64(signature.raw)


def make():
    """Lines for a server's configuration, and the text of a user's credentials file."""
    operator, account, user = Key(OPERATOR), Key(ACCOUNT), Key(USER)
    unlimited = dict.fromkeys(("subs", "data", "payload"), -1)
    limits = {**unlimited, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    account_jwt = operator.sign(account.public, "account", {"limits": limits, "type": "account"})
    user_jwt = account.sign(user.public, "user",
                            {"pub": {}, "sub": {}, **unlimited, "type": "user"})
    config = (f"operator: {operator.sign(operator.public, 'operator', {'type': 'operator'})}\n"
              f"resolver: MEMORY\nresolver_preload: {{ {account.public}: {account_jwt} }}\n")
    creds = (f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
             f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n")
    return config, creds
