# SPDX-License-Identifier: Apache-2.0
"""HTTP by a Unix socket: who may use it, what becomes of its file, and what strangers there can do."""
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
import unittest

from support import MIB, PATIENCE, TestCase, bounded_memory, main, run, start


def short_directory(test):
    """A directory whose name leaves room in the 107 bytes of a socket's path."""
    path = tempfile.mkdtemp(prefix="ropeway-", dir="/tmp")
    test.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path


class LocalServer:
    """A `ropeway serve` at a Unix socket."""

    def __init__(self, path, *arguments, **options):
        self.path, self.url = path, f"unix:{path}:/"
        self.process = start("serve", "--listen", "unix:" + path, *arguments, encoding="utf-8", **options)
        line = self.process.stdout.readline()
        assert line == f"ropeway: serving on {self.url}\n", (line, self.process.communicate())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, number=signal.SIGTERM):
        """Returns all that it said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE)[1]

    def connect(self, part=b""):
        stranger = socket.socket(socket.AF_UNIX)
        try:
            stranger.settimeout(PATIENCE)
            stranger.connect(self.path)
            stranger.sendall(part)
        except OSError:
            stranger.close()
            raise
        return stranger

    def status(self, request):
        with self.connect(request) as stranger:
            return int(stranger.recv(4096).split()[1])


class Local(TestCase):
    def setUp(self):
        super().setUp()
        self.source = self.write("file", 3 * MIB)
        self.write("below/a b", b"ten bytes\n")
        self.path = os.path.join(short_directory(self), "socket")

    def test_files_come_and_go(self):
        token = self.write_token("../token", b"s3cret\n")
        with LocalServer(self.path, "--token-file", token, "--writable", self.uploads, self.offered) as server:
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
            option = ("--token-file", token)
            self.assert_done(self.get("--verify", *option, server.url + "file"))
            self.assert_same(os.path.join(self.here, "file"), self.source)
            self.assert_done(self.get(*option, server.url + "below/a%20b"))
            self.assert_done(run("put", *option, self.source, server.url))
            self.assert_same(os.path.join(self.uploads, "file"), self.source)
            for url in (server.url, server.url[:-2]):
                listed = run("ls", *option, url)
                self.assert_done(listed)
                self.assertEqual([line[12:] for line in listed.stdout.splitlines()], ["below/a b", "file"])
            self.assert_failed(self.get(server.url + "file"), says="token")
            self.assertEqual(server.status(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200)
            errors = server.end()
        self.assertEqual(server.process.returncode, 0)
        self.assertIn(f" user {os.getuid()}: read of 'file' complete", errors)
        self.assertIn(f" user {os.getuid()}: /v1/objects/file/read refused (401)", errors)
        self.assertFalse(os.path.lexists(self.path))

    def test_a_socket_that_was_left_behind_is_replaced_and_nothing_else(self):
        with LocalServer(self.path, self.offered) as killed:
            killed.end(signal.SIGKILL)
        self.assertTrue(os.path.lexists(self.path))
        self.assert_failed(run("ls", "unix:" + self.path), says="Connection refused")
        with LocalServer(self.path, self.offered) as server:
            self.assert_failed_to_listen(self.path)
            self.assert_done(self.get(server.url + "file"))
            os.rename(self.path, self.path + ".old")
            with LocalServer(self.path, self.offered) as other:
                server.end()
                self.assert_done(run("ls", other.url))
        for taken in (self.path + ":/socket", self.source, self.directory, os.path.join(self.directory, "none", "x"), "", "x" * 108):
            self.assert_failed_to_listen(taken)
        self.assertEqual(os.path.getsize(self.source), 3 * MIB)

    def assert_failed_to_listen(self, path):
        result = run("serve", "--listen", "unix:" + path, self.offered)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("can't listen on 'unix:", result.stderr)

    @unittest.skipUnless(os.getuid() == 0, "only root can be another user")
    def test_another_user_is_kept_out_unless_the_mode_is_changed(self):
        def connect_as_nobody():
            child = os.fork()
            if child == 0:
                code = 1
                with contextlib.suppress(OSError):
                    os.setuid(65534)
                    server.status(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    code = 0
                os._exit(code)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        os.chmod(os.path.dirname(self.path), 0o755)
        with LocalServer(self.path, self.offered) as server:
            self.assertEqual(connect_as_nobody(), 1)
            os.chmod(self.path, 0o666)
            self.assertEqual(connect_as_nobody(), 0)
            self.assertIn("user 65534: /nothing refused (404)", server.end())

    @unittest.skipUnless(os.getuid() == 0, "only root can be another user")
    def test_a_server_of_another_user_is_sent_nothing(self):
        token = self.write_token("../token", b"s3cret\n")
        os.chmod(os.path.dirname(self.path), 0o777)
        ready, heard = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            data = b"nobody came"
            try:
                os.setuid(65534)
                listener = socket.socket(socket.AF_UNIX)
                listener.settimeout(PATIENCE)
                listener.bind(self.path)
                listener.listen()
                os.write(ready[1], b"x")
                client, _ = listener.accept()
                client.settimeout(PATIENCE)
                data = client.recv(65536)
            finally:
                os.write(ready[1], b"x")
                os.write(heard[1], b"<%s>" % data)
                os._exit(0)
        os.read(ready[0], 1)
        self.assert_failed(self.get("--token-file", token, f"unix:{self.path}:/file"), says="a process of user 65534 listens")
        self.assertEqual(os.read(heard[0], 65536), b"<>")
        os.waitpid(child, 0)
        for each in ready + heard:
            os.close(each)

    def test_of_servers_that_start_at_once_one_listens(self):
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(self.path)
            servers = [start("serve", "--listen", "unix:" + self.path, self.offered) for _ in range(8)]
            lines = [server.stdout.readline() for server in servers]
            running = [server for server, line in zip(servers, lines) if line]
            listed = run("ls", "unix:" + self.path)
            for server in running:
                server.terminate()
            errors = [server.communicate(timeout=PATIENCE)[1] for server in servers]
            self.assertEqual(len(running), 1, (lines, errors))
            self.assert_done(listed)
            self.assertFalse(os.path.lexists(self.path))

    def test_a_server_that_does_not_listen_yet_is_waited_for(self):
        directory = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                fcntl.flock(directory, fcntl.LOCK_EX)
                listener.bind(self.path)
                other = start("serve", "--listen", "unix:" + self.path, self.offered)
                time.sleep(0.5)
                listener.listen()
                fcntl.flock(directory, fcntl.LOCK_UN)
                errors = other.communicate(timeout=PATIENCE)[1]
                self.assertEqual(other.returncode, 1, errors)
                self.assertRegex(errors, b"can't listen on 'unix:.*: Address already in use")
                os.unlink(self.path)
                # Somebody else's lock does not keep a server from its work for long.
                fcntl.flock(directory, fcntl.LOCK_EX)
                with LocalServer(self.path, self.offered) as server:
                    self.assert_done(run("ls", server.url))
        finally:
            os.close(directory)

    def test_a_stopped_server_with_a_full_backlog_lives(self):
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as held:
            listener.bind(self.path)
            listener.listen(1)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client = held.enter_context(socket.socket(socket.AF_UNIX))
                    client.setblocking(False)
                    client.connect(self.path)
            self.assert_failed_to_listen(self.path)

    def test_who_holds_connections_shuts_nobody_out(self):
        parts = (b"", b"GET /v1/objects HTTP/1.1\r\nHost: localhost\r\nX-Drip: ",
                 b"POST /v1/objects/x/write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{")
        with LocalServer(self.path, "--writable", self.uploads, self.offered,
                         preexec_fn=bounded_memory(1 << 30)) as server, contextlib.ExitStack() as held:
            for part in parts:
                for _ in range(200):
                    with contextlib.suppress(OSError):
                        held.enter_context(server.connect(part))
                self.assert_done(self.get("-o", "/dev/null", server.url + "file"))
                self.assert_done(run("put", self.source, server.url))
            held.close()
            self.assertIn("this one kept the server waiting longest", server.end())

    def test_what_is_refused_by_tcp_is_refused_here(self):
        with LocalServer(self.path, self.offered) as server:
            for head, status in ((b"Host: evil.test\r\n", 421), (b"Host: localhost\r\nOrigin: http://evil.test\r\n", 403),
                                 (b"Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403), (b"no colon\r\n", 400),
                                 (b"Host: localhost\r\nHost: localhost\r\n", 400),
                                 (b"Host: localhost\r\nX: %s\r\n" % (b"y" * 60000), 431)):
                self.assertEqual(server.status(b"GET /v1/objects HTTP/1.1\r\n" + head + b"\r\n"), status, head[:60])
            errors = server.end()
        for status in (421, 403, 400, 431):
            self.assertIn(f"/v1/objects refused ({status})", errors)

    def test_health_tells_when_nobody_can_come_any_more(self):
        with LocalServer(self.path, self.offered) as server:
            with server.connect() as stranger:
                os.unlink(self.path)
                lines = iter(server.process.stderr.readline, "")
                self.assertTrue(any(f"nobody listens at 'unix:{self.path}' any more" in line for line in lines))
                stranger.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b" 503 ", stranger.recv(4096))

    def test_urls_that_are_none(self):
        for url in ("unix:", "unix:" + self.path + ":/a?b", "unix:" + self.path + ":/..%2f..", "unix:" + self.path + ":/%00"):
            result = run("get", url, cwd=self.here)
            self.assertEqual(result.returncode, 2, result)
        self.assert_failed(run("get", "unix:" + "x" * 200 + ":/file", cwd=self.here))


class HostileLocal(TestCase):
    def test_answers_that_are_none_or_do_not_end(self):
        path = os.path.join(short_directory(self), "socket")
        few_bytes = bounded_memory(256 * MIB)
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
        for answer in (b"", b"hello\r\n\r\n", head + b"Content-Length: 2\r\n\r\n[]", head + b"\r\n" + b" " * (48 * MIB),
                       head + b"X: %s\r\n" % (b"y" * 900) * 200, head.replace(b"200 OK", b"302 Found") + b"Location: "
                       b"http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"):
            with self.subTest(answer=answer[:40]), socket.socket(socket.AF_UNIX) as listener:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                listener.bind(path)
                listener.listen()

                def loop(listener=listener, answer=answer):
                    with contextlib.suppress(OSError):
                        while True:
                            client, _ = listener.accept()
                            with client, contextlib.suppress(OSError):
                                client.recv(65536)
                                client.sendall(answer)

                threading.Thread(target=loop, daemon=True).start()
                for arguments in (["get", f"unix:{path}:/file"], ["ls", f"unix:{path}"]):
                    self.assert_failed(run(*arguments, cwd=self.here, preexec_fn=few_bytes), says="unix:" + path)
        self.assert_empty(self.here)

    def test_who_is_put_out_comes_again(self):
        # To libcurl such a connection was lost or never there, depending on when it looks.
        path = os.path.join(short_directory(self), "socket")
        body = b'{"objects":[{"name":"file","size":1,"mtime":0}]}'
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def loop():
                for _ in range(3):
                    client, _ = listener.accept()
                    client.shutdown(socket.SHUT_RDWR)
                    client.close()
                client, _ = listener.accept()
                with client:
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

            threading.Thread(target=loop, daemon=True).start()
            listed = run("ls", "unix:" + path)
        self.assert_done(listed)
        self.assertEqual(listed.stdout, "       1 B  file\n")


if __name__ == "__main__":
    main()
