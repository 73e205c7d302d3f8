# SPDX-License-Identifier: Apache-2.0
"""Places and time of a server come back, whatever the client does that has them."""
import signal
import threading
import time

from support import MIB, PATIENCE, Server, TestCase, main, run, wait_for

READ = "/v1/objects/%s/read"
FAILED = 'ropeway_transfers_total{kind="read",outcome="failed"}'


class Limits(TestCase):
    def setUp(self):
        super().setUp()
        self.source = self.write("file", 100000)

    def test_who_does_not_begin_does_not_keep_others_out(self):
        # Whoever asks and does not begin is not waited for until --begin-limit when others need the place.
        with Server("--max-clients", "4", "--begin-limit", "600", "--writable", self.uploads,
                    self.offered) as server:
            stop = threading.Event()

            def hog():
                while not stop.wait(0.05):
                    server.request("POST", READ % "file", source="127.0.0.2")

            hogs = threading.Thread(target=hog, daemon=True)
            hogs.start()
            wait_for(lambda: server.metrics()['ropeway_transfers_live{kind="read"}'] == 4, "full slots")
            try:
                for _ in range(3):
                    self.assert_done(self.get(server.url + "file"))
                self.assert_done(run("put", self.source, server.url))
            finally:
                stop.set()
                hogs.join()
            server.end()
            self.assertTrue([line for line in server.log if "its place was needed" in line])

    def test_a_place_comes_back_when_a_client_stops(self):
        self.write_sparse("big", 4096 * MIB)
        with Server("--max-clients", "1", "--stall-limit", "1", self.offered) as server:
            getting = self.start_get("-o", "-", server.url + "big")
            getting.stdout.read(MIB)
            getting.send_signal(signal.SIGSTOP)
            self.assert_done(self.get(server.url + "file"))
            getting.kill()
            getting.communicate()

    def test_who_is_slower_than_the_least_rate_is_ended(self):
        # The kernel schedules a client that is stopped half of the time at some half of its rate. Into a file,
        # because that is one transfer; a stream is many, each of which may be over before its first second.
        self.write_sparse("big", 65536 * MIB)
        with Server("--min-rate", str(2 ** 32 - 1), "--stall-limit", "1", "--max-clients", "1",
                    self.offered) as server:
            getting = self.start_get("-o", "big", server.url + "big")
            self.check_cut(server, getting, "'--min-rate'")

    def test_who_is_not_done_by_the_deadline_is_ended(self):
        self.write_sparse("big", 65536 * MIB)
        with Server("--deadline", "1", "--max-clients", "1", self.offered) as server:
            getting = self.start_get("-o", "big", server.url + "big")
            self.check_cut(server, getting, "'--deadline'")

    def check_cut(self, server, getting, reason):
        end = time.monotonic() + PATIENCE
        while not server.metrics()[FAILED] and time.monotonic() < end and getting.poll() is None:
            getting.send_signal(signal.SIGSTOP)
            server.request("POST", READ % "missing")
            getting.send_signal(signal.SIGCONT)
        code, _ = self.finish(getting)
        self.assertEqual(code, 1)
        self.assert_done(self.get(server.url + "file"))
        server.end()
        self.assertTrue([line for line in server.log if reason in line], server.log)

    def test_options_are_judged(self):
        for options in (["--min-rate", "x"], ["--min-rate", "-1"], ["--deadline", "0"],
                        ["--deadline", "x"], ["--log-format", "xml"], ["--allow-host", ""]):
            self.assert_failed(run("serve", *options, self.offered), code=2, says=options[0])


if __name__ == "__main__":
    main()
