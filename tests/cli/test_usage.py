# SPDX-License-Identifier: Apache-2.0
"""Help, versions, exit codes and sentences, without a server."""
import os
import subprocess

from support import TestCase, command, free_port_is_refused, main, run

COMMANDS = ("serve", "get", "put", "ls", "info", "doctor", "perf")


class Usage(TestCase):
    def test_help_names_every_command(self):
        for arguments in (["--help"], ["-h"], ["help"]):
            result = run(*arguments)
            self.assert_done(result)
            for command in COMMANDS:
                self.assertIn(f"  {command} ", result.stdout)

    def test_every_command_has_help(self):
        for command in COMMANDS:
            result = run(command, "--help")
            self.assert_done(result)
            self.assertTrue(result.stdout.startswith(f"Usage: ropeway {command} "), result.stdout)
            self.assertEqual(run("help", command).stdout, result.stdout)
            for line in result.stdout.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_version(self):
        result = run("--version")
        self.assert_done(result)
        self.assertRegex(result.stdout, r"\Aropeway \d+\.\d+\.\d+\n\Z")
        self.assertEqual(run("-V").stdout, result.stdout)

    def test_wrong_command_lines_end_with_2(self):
        url = "http://127.0.0.1:9/x"
        for arguments in (
                [], ["fetch"], ["--fast"], ["help", "fetch"],
                ["serve"], ["serve", "--max-clients", "0", "."], ["serve", "--max-clients", "x", "."],
                ["serve", "--grace", "-1", "."], ["serve", "--grace", "nan", "."],
                ["serve", "--listen"], ["serve", "--nothing", "."],
                ["get"], ["get", url, url], ["get", "--verify=1", url], ["get", "--timeout", "0", url],
                ["get", "--timeout", "1e3", url], ["get", "http://127.0.0.1:9/"],
                ["get", "http://127.0.0.1:9/dir/"],
                ["put"], ["put", "file"], ["put", "file", url, url],
                ["ls"], ["ls", url, url], ["ls", "--quiet", url]):
            with self.subTest(arguments=arguments):
                self.assert_failed(run(*arguments), code=2)

    def test_wrong_urls_end_with_2(self):
        for url in ("127.0.0.1:9/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "http:///x",
                    "http://127.0.0.1:99999/x", "http://u:p@127.0.0.1/x", "http://127.0.0.1/x?y",
                    "http://127.0.0.1/x#y", "http://127.0.0.1/a/../b", "http://127.0.0.1/%2e%2e/b",
                    "http://127.0.0.1/a%00b", "http://127.0.0.1/a%zz", "http://127.0.0.1/a//b", ""):
            with self.subTest(url=url):
                self.assert_failed(run("get", "-o", os.devnull, url), code=2)

    def test_nobody_listens(self):
        reserved, url = free_port_is_refused()
        with reserved:
            source = self.write("file", b"x")
            for arguments in (["get", url + "x"], ["ls", url], ["put", source, url]):
                result = run(*arguments, cwd=self.here)
                self.assert_failed(result, says="can't reach " + url[:-1])
        self.assert_empty(self.here)

    def test_files_that_are_not_there(self):
        self.assert_failed(run("put", "missing", "http://127.0.0.1:9/x", cwd=self.here),
                           says="'missing'")
        self.assert_failed(run("put", self.here, "http://127.0.0.1:9/x"), says="not a file")
        self.assert_failed(run("serve", "--listen", "127.0.0.1:0", "missing", cwd=self.here),
                           says="'missing'")
        self.assert_failed(run("serve", "--listen", "127.0.0.1:0", os.devnull), says="neither")
        self.assert_failed(run("serve", "--listen", "127.0.0.1:0", "--writable", "missing",
                               cwd=self.here), says="'missing'")

    def test_addresses_that_can_not_be_used(self):
        for address in ("nonsense", "127.0.0.1", "127.0.0.1:65536", "::1:0", "127.0.0.1:", "[::1]"):
            with self.subTest(address=address):
                self.assert_failed(run("serve", "--listen", address, self.offered), says=address)

    def test_token_files_that_can_not_be_used(self):
        for name, data in (("empty", b"\n"), ("spaces", b"a b\n"), ("long", b"x" * 5000),
                           ("zero", b"a\0b\n")):
            path = self.write(name, data)
            with self.subTest(name=name):
                self.assert_failed(run("ls", "--token-file", path, "http://127.0.0.1:9/"), says=path)
        self.assert_failed(run("ls", "--token-file", "missing", "http://127.0.0.1:9/"),
                           says="'missing'")

    def test_a_token_file_that_others_can_read_draws_a_warning(self):
        path = self.write("token", b"secret\n")
        for mode, warned in ((0o604, True), (0o640, False), (0o600, False)):
            os.chmod(path, mode)
            with self.subTest(mode=oct(mode)):
                result = run("ls", "--token-file", path, "http://127.0.0.1:9/")
                self.assertEqual("warning: others can read the token file" in result.stderr, warned, result)

    def test_a_token_in_the_environment_is_judged_as_well(self):
        for text in ("", "a b", "x" * 5000):
            result = run("ls", "http://127.0.0.1:9/", env=dict(os.environ, ROPEWAY_TOKEN=text))
            self.assert_failed(result, says="ROPEWAY_TOKEN")

    def test_output_that_can_not_be_written(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run(command("--help"), stdout=full, stderr=subprocess.PIPE,
                                    encoding="utf-8", check=False)
        self.assert_failed(result, says="standard output")


if __name__ == "__main__":
    main()
