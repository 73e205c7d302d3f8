# SPDX-License-Identifier: Apache-2.0
"""What strangers and web pages do to the HTTP server holds up nobody else, and reaches nothing."""
import contextlib
import ctypes
import os
import socket
import threading
import unittest

from support import PATIENCE, Server, TestCase, bounded_memory, main, run, wait_for

READ = "/v1/objects/%s/read"
SYS_PIDFD_GETFD = 438


class Flood:
    """Holds connections to a server open, as many as it can, each with a part of a request."""

    def __init__(self, address, count, part):
        self.address, self.part = address, part
        self.sockets = []
        for _ in range(count):
            self.open_one()

    def open_one(self):
        with contextlib.suppress(OSError):
            self.sockets.append(socket.create_connection(self.address, timeout=PATIENCE))
            self.sockets[-1].sendall(self.part)

    def drip(self, data=b"x"):
        """Sends a byte more on each, and opens others in place of those that were closed."""
        for each in list(self.sockets):
            try:
                each.sendall(data)
            except OSError:
                self.sockets.remove(each)
                each.close()
                self.open_one()

    def __enter__(self):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def run(self):
        while not self.stop.wait(0.2):
            self.drip()

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        for each in self.sockets:
            each.close()


class Strangers(TestCase):
    def setUp(self):
        super().setUp()
        self.source = self.write("file", 100000)
        self.token = self.write_token("token", b"s3cret\n")

    def test_connections_without_a_request_do_not_shut_others_out(self):
        # Twice as many as there may be: at the default of --max-clients 160 connections.
        for part in (b"", b"GET /v1/objects HTTP/1.1\r\nHost: localhost\r\nX-Drip: "):
            with self.subTest(part=part[:3]), \
                    Server("--token-file", self.token, self.offered) as server, \
                    Flood(server.address, 320, part):
                for _ in range(3):
                    self.assert_done(self.get("--token-file", self.token, server.url + "file"))
                self.assertEqual(server.request("GET", "/healthz")[0], 200)

    def test_uploads_that_do_not_come_do_not_shut_others_out(self):
        part = (b"POST /v1/objects/x/write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{")
        with Server("--writable", self.uploads, self.offered) as server, \
                Flood(server.address, 320, part):
            self.assert_done(self.get(server.url + "file"))
            self.assert_done(run("put", self.source, server.url))

    def test_headers_have_a_time_as_a_whole(self):
        with Server(self.offered) as server, socket.create_connection(server.address) as drip:
            drip.sendall(b"GET /v1/objects HTTP/1.1\r\nHost: localhost\r\nX: ")
            drip.settimeout(0.3)
            sent, closed = 0, False
            while not closed and sent < 200:
                try:
                    drip.sendall(b"x")
                    sent += 1
                    closed = drip.recv(1) == b""
                except TimeoutError:
                    continue
                except OSError:
                    closed = True
            self.assertTrue(closed, "it was never closed")
            server.end()
            self.assertTrue([line for line in server.log if "did not come in time" in line])

    def test_long_headers_are_not_kept(self):
        with Server(self.offered) as server:
            flood = b"GET /v1/objects HTTP/1.1\r\n" + b"X: %s\r\n" % (b"y" * 8000) * 100
            with socket.create_connection(server.address, timeout=PATIENCE) as stranger:
                with contextlib.suppress(OSError):
                    stranger.sendall(flood)
                    self.assertNotIn(b" 200 ", stranger.recv(100))
            self.assertEqual(server.request("GET", "/v1/objects")[0], 200)

    def test_no_body_is_read_without_the_token(self):
        with Server("--token-file", self.token, "--writable", self.uploads, self.offered) as server, \
                socket.create_connection(server.address, timeout=PATIENCE) as stranger:
            stranger.sendall(b"POST /v1/objects/x/write HTTP/1.1\r\nHost: localhost\r\n"
                             b"Content-Length: 60000\r\n\r\n")
            self.assertIn(b" 401 ", stranger.recv(100))  # of the body nothing was sent

    def test_as_many_may_wait_as_there_are_transfers(self):
        with Server("--max-clients", "2", self.offered) as server:
            transfer = server.json("POST", READ % "file")[1]["transfer"]
            target = f"/v1/transfers/{transfer}?wait=20"
            waits = [socket.create_connection(server.address) for _ in range(36)]
            for each in waits:
                each.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.assert_done(self.get(server.url + "file"))
            for each in waits:
                each.close()

    def test_memory_stays_bounded(self):
        part = b"POST /v1/objects/x/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n" + b" " * 65000
        with Server(self.offered, preexec_fn=bounded_memory(1 << 30)) as server, \
                Flood(server.address, 320, part):
            self.assert_done(self.get(server.url + "file"))


class Pages(TestCase):
    """A web page that a user's browser has open."""

    def setUp(self):
        super().setUp()
        self.write("file", b"x")

    def status(self, server, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        with socket.create_connection(server.address, timeout=PATIENCE) as browser:
            browser.sendall(f"POST {READ % 'file'} HTTP/1.1\r\n{lines}Content-Length: 0\r\n\r\n".encode())
            answer = browser.recv(4096).decode()
        return int(answer.split()[1])

    def test_a_name_that_is_made_to_lead_here_is_refused(self):
        with Server("--allow-host", "models.test", self.offered) as server:
            port = server.address[1]
            for host in (f"127.0.0.1:{port}", "127.0.0.1", f"localhost:{port}", "LOCALHOST", "10.1.2.3",
                         f"[::1]:{port}", socket.gethostname(), "models.test", "models.test.:80"):
                self.assertEqual(self.status(server, Host=host), 200, host)
            for host in ("evil.test", f"evil.test:{port}", "localhost.evil.test", "models.test.evil.test",
                         "127.0.0.1.evil.test", "localhost@evil.test", "[evil.test]", "", ":80", "a" * 3000):
                self.assertIn(self.status(server, Host=host), (400, 421), host)
            server.end()
            self.assertIn("--allow-host", "".join(server.log))

    def test_a_page_of_another_site_is_refused(self):
        with Server("--allow-host", "models.test", self.offered) as server:
            for headers in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {"Origin": "http://localhost"},
                            {"Origin": "http://127.0.0.1"}, {"Origin": "file://"}, {"Origin": "models.test"},
                            {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
                            {"Origin": "https://models.test.evil.test"}):
                self.assertEqual(self.status(server, Host="localhost", **headers), 403, headers)
            for headers in ({"Origin": "https://models.test"}, {"Origin": "http://models.test:8080"},
                            {"Origin": "https://models.test", "Sec_Fetch_Site": "cross-site"},
                            {"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Site": "same-origin"}):
                self.assertEqual(self.status(server, Host="localhost", **headers), 200, headers)

    def test_all_hosts_can_be_allowed(self):
        with Server("--allow-host", "*", self.offered) as server:
            self.assertEqual(self.status(server, Host="any.test", Origin="http://other.test"), 200)


def listening_sockets(process):
    """Doubles of the TCP sockets that a process listens on, by port."""
    libc = ctypes.CDLL(None, use_errno=True)
    found, pid = {}, os.pidfd_open(process.pid)
    for name in os.listdir(f"/proc/{process.pid}/fd"):
        fd = libc.syscall(SYS_PIDFD_GETFD, pid, int(name), 0)
        if fd < 0:
            continue
        try:
            double = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            continue
        with contextlib.suppress(OSError):
            if double.family != socket.AF_UNIX and double.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found[double.getsockname()[1]] = double
                continue
        double.close()
    os.close(pid)
    return found


class Health(TestCase):
    def health(self, server):
        status, answer = server.json("GET", "/healthz")
        return status, answer

    def test_it_is_open_and_tells_nothing(self):
        token = self.write_token("token", b"s3cret\n")
        with Server("--token-file", token, self.offered) as server:
            status, answer = self.health(server)
            self.assertEqual((status, set(answer)), (200, {"status", "version"}))
            self.assertEqual(server.request("GET", "/metrics")[0], 401)

    def test_it_is_not_well_when_a_listener_is_lost(self):
        with Server(self.offered) as server:
            self.assertEqual(self.health(server)[0], 200)
            listening = listening_sockets(server.process)
            if server.address[1] not in listening:
                raise unittest.SkipTest("the sockets of another process can't be had here")
            data = {port: each for port, each in listening.items() if port != server.address[1]}
            if not data:
                raise unittest.SkipTest("the library listens on no port here")
            port = min(data)
            data[port].shutdown(socket.SHUT_RDWR)
            for each in listening.values():
                each.close()

            def is_unwell():
                status, answer = self.health(server)
                return status == 503 and answer["error"]

            self.assertIn(f":{port}", wait_for(is_unwell, "the health to tell"))
            _, errors = server.end()
            self.assertIn("no longer listens", errors)

    def test_it_asks_the_http_server_like_anybody_else(self):
        # Who stops answering is found out, though its socket still listens.
        with Server(self.offered) as server:
            listening = listening_sockets(server.process)
            if server.address[1] not in listening:
                raise unittest.SkipTest("the sockets of another process can't be had here")
            listening[server.address[1]].shutdown(socket.SHUT_RDWR)
            for each in listening.values():
                each.close()
            lines = iter(server.process.stderr.readline, "")
            self.assertTrue(any("no longer listens" in line for line in lines))


if __name__ == "__main__":
    main()
