# SPDX-License-Identifier: Apache-2.0
"""The description of the HTTP interface says what the server does, and the man page says the same."""
import json
import pathlib
import re

from support import GIB, MIB, Server, TestCase, bounded_memory, main

MAN = pathlib.Path(__file__).resolve().parents[2] / "docs/man/ropeway.1"
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


class Description:
    """An OpenAPI document, and the judgement of values by its schemas."""

    def __init__(self, document):
        self.document = document

    def resolve(self, schema):
        while "$ref" in schema:
            found = self.document
            for key in schema["$ref"].removeprefix("#/").split("/"):
                found = found[key]
            schema = found
        return schema

    def check(self, value, schema, at="$"):
        """Raises AssertionError where a value does not have its schema."""
        schema = self.resolve(schema)
        right = isinstance(value, TYPES[schema["type"]]) and (isinstance(value, bool)
                                                              == (schema["type"] == "boolean"))
        assert right, (at, value, schema)
        assert value in schema.get("enum", [value]), (at, value)
        if schema["type"] == "string":
            assert re.search(schema.get("pattern", ""), value), (at, value)
        if schema["type"] in ("integer", "number"):
            assert value >= schema.get("minimum", value), (at, value)
        if schema["type"] == "array":
            for item in value:
                self.check(item, schema["items"], at + "[]")
        if schema["type"] == "object":
            known = schema.get("properties", {})
            assert set(schema.get("required", [])) <= set(value), (at, value)
            if schema.get("additionalProperties", True) is False:
                assert set(value) <= set(known), (at, set(value) - set(known))
            for key in set(value) & set(known):
                self.check(value[key], known[key], f"{at}.{key}")

    def check_answer(self, path, method, status, value):
        answers = self.document["paths"][path][method]["responses"]
        assert str(status) in answers, (path, method, status)
        answer = self.resolve(answers[str(status)])
        self.check(value, answer["content"]["application/json"]["schema"])


class OpenApi(TestCase):
    def test_the_man_page_has_the_same_requests(self):
        with Server(self.offered) as server:
            _, document = server.json("GET", "/v1/openapi.json")
        text = MAN.read_text(encoding="utf-8")
        section = text[text.index(".Sh HTTP INTERFACE"):text.index(".Sh NATS INTERFACE")]
        in_man = set(re.findall(r"^\.It Ql (GET|POST) ([^?\s]+)", section, re.MULTILINE))
        described = set()
        for path, methods in document["paths"].items():
            path = path.replace("{name}", "NAME").replace("{transfer}", "ID")
            described |= {(method.upper(), path) for method in methods}
            for parameter in (p for m in methods.values() for p in m.get("parameters", [])):
                self.assertIn(parameter["name"] if parameter["in"] == "query" else "", section)
        self.assertEqual(described, in_man)

    def test_answers_are_as_described(self):
        token = self.write_token("token", b"s3cret\n")
        self.write("file", 1000)
        headers = {"Authorization": "Bearer s3cret"}
        read, write, state = "/v1/objects/{name}/read", "/v1/objects/{name}/write", "/v1/transfers/{transfer}"
        with Server("--token-file", token, "--writable", self.uploads, self.offered) as server:
            _, document = server.json("GET", "/v1/openapi.json")
            self.assertRegex(document["openapi"], r"\A3\.")
            description = Description(document)

            def ask(path, method, target, body=None, expected=200, headers=headers):
                status, value = server.json(method.upper(), target, body, headers=headers)
                self.assertEqual(status, expected, value)
                description.check_answer(path, method, status, value)
                return value

            ask("/v1/objects", "get", "/v1/objects")
            page = ask("/v1/objects", "get", "/v1/objects?limit=1")
            self.assertTrue(page["more"])
            ask("/v1/objects", "get", "/v1/objects?limit=x", expected=400)
            ask("/v1/objects", "get", "/v1/objects", expected=401, headers={})
            offer = ask(read, "post", "/v1/objects/file/read", {"offset": 1, "length": 2, "checksum": True})
            ask(state, "get", f"/v1/transfers/{offer['transfer']}?wait=0")
            ask(state, "get", "/v1/transfers/" + "0" * 32, expected=404)
            ask(read, "post", "/v1/objects/none/read", expected=404)
            ask(write, "post", "/v1/objects/new/write", {"size": MIB})
            ask(write, "post", "/v1/objects/new/write", {}, expected=400)
            ask("/healthz", "get", "/healthz", headers={})
            ask("/v1/openapi.json", "get", "/v1/openapi.json", headers={})
            self.assertEqual(server.request("GET", "/metrics", headers=headers)[1].get_content_type(),
                             "text/plain")

    def test_what_is_beyond_the_description_is_refused(self):
        # Each parameter and member in turn with values that its schema does not allow.
        wrong = {"integer": (-1, 1.5, "x", True, None), "boolean": (1, "true", None), "string": (7, [], "x")}
        self.write("file", 1000)
        with Server("--writable", self.uploads, self.offered) as server:
            _, document = server.json("GET", "/v1/openapi.json")
            description = Description(document)
            tried = 0
            for path, target in (("/v1/objects/{name}/read", "/v1/objects/file/read"),
                                 ("/v1/objects/{name}/write", "/v1/objects/new/write")):
                body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
                schema = description.resolve(body["schema"])
                for key, member in schema["properties"].items():
                    for value in wrong[description.resolve(member)["type"]]:
                        status, answer = server.json("POST", target, {"size": 1} | {key: value})
                        self.assertEqual(status, 400, (path, key, value))
                        description.check_answer(path, "post", status, answer)
                        tried += 1
            self.assertGreater(tried, 10)

    def test_odd_requests_get_described_answers(self):
        # What a generator of valid Unicode and URLs does not send.
        bodies = [b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b'{"size":"\xc0\x80"}', b'{"size":"\xed\xa0\x80"}', b"[" * 60000,
                  b'{"a":' * 10000, b'{"size":1e999}', b'{"size":-0.0}', b'{"size":18446744073709551616}',
                  b'{"size":1,"size":1}', b"{\0}", b"null", b'"', b"{}x", b"NaN", b" " * 65536]
        names = [b"%C0%80", b"%ff", b"\xff", b"%00", b"%2e%2e/x", b"a//b", b"%2F", b"a%", b"%" + b"41" * 6000, b"a;b=c",
                 b"read", b"write/write", b"%u0041", b"\xe2\x80\xae", b"x" * 4096]
        paths = {"read": "/v1/objects/{name}/read", "write": "/v1/objects/{name}/write"}
        with Server("--writable", self.uploads, "--max-clients", "4096", self.offered,
                    preexec_fn=bounded_memory(GIB)) as server:
            description = Description(server.json("GET", "/v1/openapi.json")[1])
            asked = [(action, b"x", body) for action in paths for body in bodies]
            asked += [(action, name, b'{"size":1}') for action in paths for name in names]
            for action, name, body in asked:
                for kind in ("application/json", "text/plain; charset=utf-16", "multipart/form-data", "\xff"):
                    with self.subTest(action=action, name=name[:20], body=body[:20], kind=kind):
                        status, headers, text = server.request(
                            "POST", b"/v1/objects/%s/%s" % (name, action.encode()), body, {"Content-Type": kind})
                        self.assertLess(status, 500, text)
                        self.assertEqual(headers.get_content_type(), "application/json")
                        if status != 414:
                            description.check_answer(paths[action], "post", status, json.loads(text))
            self.assertEqual(server.request("GET", "/healthz")[0], 200)


if __name__ == "__main__":
    main()
