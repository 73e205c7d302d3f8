# SPDX-License-Identifier: Apache-2.0
"""Whatever dies in the middle: a file is complete at its name, or it is not there.

"In the middle" is seen in the server's metrics: some bytes have moved, and not all of them. The
files are sparse and far larger than what moves meanwhile.
"""
import os
import signal

from support import CHANNEL, MIB, Proxy, Server, TestCase, main, run, start, wait_for

BIG = 3072 * MIB
SENT = "ropeway_sent_bytes_total"
RECEIVED = "ropeway_received_bytes_total"


class Faults:
    TRANSPORTS = None
    def setUp(self):
        super().setUp()
        self.big = self.write_sparse("big", BIG)

    def server(self, *arguments):
        return Server("--transports", self.TRANSPORTS, *arguments, self.offered)

    @property
    def options(self):
        return ["--transports", self.TRANSPORTS]

    def in_the_middle(self, server, process, metric):
        """Returns when process is stopped, and has moved some bytes and not all."""
        server.wait_for_metric(metric)
        self.assertIsNone(process.poll(), "the transfer was over already")
        process.send_signal(signal.SIGSTOP)
        self.assertLess(server.metrics()[metric], BIG)

    def start_big_get(self, server, *options):
        getting = self.start_get(*options, *self.options, server.url + "big")
        self.addCleanup(getting.kill)
        self.in_the_middle(server, getting, SENT)
        return getting

    def start_big_put(self, server, *options):
        putting = start("put", *options, *self.options, self.big, server.url + "dir/new")
        self.addCleanup(putting.kill)
        self.in_the_middle(server, putting, RECEIVED)
        return putting

    def wait_for_failure(self, server, kind):
        server.wait_for_metric('ropeway_transfers_total{kind="%s",outcome="failed"}' % kind)
        metrics = server.metrics()
        self.assertEqual(metrics['ropeway_transfers_live{kind="%s"}' % kind], 0)
        self.assertEqual(metrics["ropeway_operations_live"], 0)

    def test_server_killed_during_get(self):
        with self.server() as server:
            getting = self.start_big_get(server)
            server.process.kill()
            server.process.wait()
            getting.send_signal(signal.SIGCONT)
            code, errors = self.finish(getting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)
            self.assert_empty(self.here)

    def test_server_killed_during_get_into_a_pipe(self):
        with self.server() as server:
            getting = self.start_get("-o", "-", *self.options, server.url + "big")
            self.assertEqual(len(getting.stdout.read(MIB)), MIB)
            server.process.kill()
            while getting.stdout.read(MIB):
                pass
            code, errors = self.finish(getting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)

    def test_server_killed_during_put(self):
        with self.server("--writable", self.uploads) as server:
            putting = self.start_big_put(server)
            server.process.kill()
            server.process.wait()
            putting.send_signal(signal.SIGCONT)
            code, errors = self.finish(putting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)
            self.assert_empty(self.uploads)

    def test_client_killed_during_get(self):
        with self.server() as server:
            getting = self.start_big_get(server)
            getting.kill()
            self.finish(getting)
            self.assert_empty(self.here)
            self.wait_for_failure(server, "read")

    def test_client_killed_during_put(self):
        with self.server("--writable", self.uploads) as server:
            putting = self.start_big_put(server)
            putting.kill()
            self.finish(putting)
            self.wait_for_failure(server, "write")
            self.assert_empty(self.uploads)

    def test_client_stopped_for_ever(self):
        with self.server("--writable", self.uploads, "--stall-limit", "3") as server:
            getting = self.start_big_get(server)
            self.wait_for_failure(server, "read")
            getting.send_signal(signal.SIGCONT)
            code, errors = self.finish(getting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)
            self.assert_empty(self.here)

    def test_server_stopped_for_ever(self):
        with self.server() as server:
            getting = self.start_big_get(server, "--timeout", "3")
            server.process.send_signal(signal.SIGSTOP)
            getting.send_signal(signal.SIGCONT)
            code, errors = self.finish(getting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)
            self.assert_empty(self.here)

    def test_interrupted_get_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.server() as server:
                getting = self.start_big_get(server)
                getting.send_signal(number)
                getting.send_signal(signal.SIGCONT)
                code, errors = self.finish(getting)
                self.assertEqual(code, 128 + number, errors)
                self.assert_one_sentence(errors)
                self.assert_empty(self.here)
                self.wait_for_failure(server, "read")

    def test_interrupted_get_into_a_full_pipe(self):
        with self.server() as server:
            getting = self.start_get("-o", "-", *self.options, server.url + "big")
            getting.stdout.read(1)
            getting.send_signal(signal.SIGINT)
            code, errors = self.finish(getting)
            self.assertEqual(code, 130, errors)
            self.assert_one_sentence(errors)

    def test_interrupted_put_leaves_nothing(self):
        with self.server("--writable", self.uploads) as server:
            putting = self.start_big_put(server)
            putting.send_signal(signal.SIGINT)
            putting.send_signal(signal.SIGCONT)
            code, errors = self.finish(putting)
            self.assertEqual(code, 130, errors)
            self.assert_one_sentence(errors)
            self.wait_for_failure(server, "write")
            self.assert_empty(self.uploads)

    def test_truncated_while_it_is_read(self):
        with self.server() as server:
            getting = self.start_big_get(server)
            os.truncate(self.big, 4096)
            getting.send_signal(signal.SIGCONT)
            code, errors = self.finish(getting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)
            self.assert_empty(self.here)
            self.assert_done(self.get("--verify", *self.options, server.url + "big"))
            os.remove(os.path.join(self.here, "big"))
            os.truncate(self.big, BIG)

    def test_truncated_before_it_is_read(self):
        # Small and large: bytes that UCX copies, and bytes that the kernel fetches.
        for size in (100, 6000, 100000, 5 * MIB):
            with self.server() as server:
                path = self.write("file", size)

                def truncate(method, target, _, answer, path=path):
                    if target.endswith("/read"):
                        os.truncate(path, 0)
                    return answer

                with Proxy(server, truncate) as proxy:
                    result = self.get(*self.options, proxy.url + "file")
                self.assert_failed(result)
                self.assert_empty(self.here)
                self.assertEqual(server.json("GET", "/healthz")[0], 200)
                self.assertEqual(server.end()[0], 0)

    def test_changed_while_it_is_read(self):
        for size in (100, 5 * MIB):
            with self.server() as server:
                path = self.write("file", size)

                def change(method, target, _, answer, path=path):
                    if target.endswith("/read"):
                        now = os.stat(path).st_mtime_ns
                        os.utime(path, ns=(now + 1000000, now + 1000000))
                    return answer

                for output in ("back", "-"):
                    with Proxy(server, change) as proxy:
                        self.assert_failed(self.get("-o", output, *self.options, proxy.url + "file",
                                                    encoding="latin-1"), says="changed")
                self.assert_empty(self.here)

    def test_source_truncated_during_put(self):
        for size in (100, 5 * MIB):
            # The sender may die before it begins: then the limit for that counts.
            with self.server("--writable", self.uploads, "--begin-limit", "1") as server:
                path = self.write("file", size)

                def truncate(method, target, _, answer, path=path):
                    if target.endswith("/write"):
                        os.truncate(path, 0)
                    return answer

                with Proxy(server, truncate) as proxy:
                    self.assert_failed(run("put", *self.options, path, proxy.url))
                self.wait_for_failure(server, "write")
                self.assert_empty(self.uploads)

    def test_server_ends_in_grace(self):
        os.truncate(self.big, 256 * MIB)
        with self.server("--writable", self.uploads, "--grace", "60") as server:
            getting = self.start_get(*self.options, server.url + "big")
            putting = start("put", *self.options, self.big, server.url + "new")
            server.wait_for_metric(SENT)
            server.wait_for_metric(RECEIVED)
            self.assertEqual(server.end(), (0, ""))
            self.assertEqual(self.finish(getting), (0, ""))
            self.assertEqual(self.finish(putting), (0, ""))
            for path in (os.path.join(self.here, "big"), os.path.join(self.uploads, "new")):
                self.assertEqual(os.path.getsize(path), 256 * MIB)
                os.remove(path)

    def test_server_ends_without_grace(self):
        with self.server("--grace", "0.2") as server:
            getting = self.start_big_get(server)
            code, errors = server.end()
            self.assertEqual(code, 0, errors)
            self.assertIn("1 transfers unfinished", errors)
            getting.send_signal(signal.SIGCONT)
            code, errors = self.finish(getting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)
            self.assert_empty(self.here)

    def test_second_signal_ends_at_once(self):
        with self.server("--grace", "3600") as server:
            getting = self.start_big_get(server)
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: server.request("POST", "/v1/objects/big/read")[0] == 503, "the end")
            self.assertEqual(server.end(signal.SIGINT)[0], 0)
            getting.send_signal(signal.SIGCONT)
            self.assertEqual(self.finish(getting)[0], 1)
            self.assert_empty(self.here)

    def test_upload_that_arrives_damaged_is_dropped(self):
        path = self.write("file", 100000)
        with self.server("--writable", self.uploads) as server:

            def change(method, target, _, answer):
                if target.endswith("/write"):
                    with open(path, "r+b") as file:
                        file.seek(50000)
                        byte = file.read(1)[0]
                        file.seek(50000)
                        file.write(bytes([byte ^ 1]))
                return answer

            with Proxy(server, change) as proxy:
                self.assert_failed(run("put", "--verify", *self.options, path, proxy.url), says="checksum")
            self.assert_empty(self.uploads)

    def test_download_that_differs_is_dropped(self):
        self.write("file", 100000)
        with self.server() as server:

            def change(method, target, _, answer):
                if "checksum" in answer:
                    answer["checksum"] = "xxh3-128:" + "0" * 32
                return answer

            for output in ("back", "-"):
                with Proxy(server, change) as proxy:
                    result = self.get("--verify", "-o", output, *self.options, proxy.url + "file",
                                      encoding="latin-1")
                    self.assert_failed(result, says="checksum")
                    self.assertEqual(result.stdout, "")
            self.assert_empty(self.here)


if CHANNEL == "http":  # what carries the bytes makes no difference to the other channel
    class OnOneHost(Faults, TestCase):
        TRANSPORTS = "tcp,cma,self"


class OverTcp(Faults, TestCase):
    TRANSPORTS = "tcp,self"


if __name__ == "__main__":
    main()
