"""Times how late the processes of a measured failover of Redis are, when nothing fails: Sentinels, servers, and the programs that look at them.

    python waking.py FOLDER OUT.csv

As root, at nice -10 beside whatever else the machine does; needs redis-server. Everything is on loopback. The clients, the listeners and those who
ask for roles are those of ../measured/sentinel.py, in one process as there. Appends rows of a step, its seconds and the load:

- `timer`: how long after its time-out of 52 to 100 ms `epoll_wait` returns: a Sentinel's tick (`aeApiPoll`)
- `exit`: from SIGKILL of a server until the end of a connection to it is read
- `backlog`: from SIGCONT of a server until the first of three Sentinels has read the last INFO that it has asked for, with each tick, since one was
  due 3 s before
- `heard`: from the instant at which a script publishes something until a listener has it
- `pause`: how much longer than 50 ms client A pauses, whose server is dead
- `wait`: how much longer than a second it waits for an answer, whose server is stopped
"""

import csv
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "measured"))
import sentinel  # noqa: E402
from sentinel import Aware, Link, Listener, Refused, role_of, wait_until  # noqa: E402

ADDRESSES = ["127.0.7.1", "127.0.7.2", "127.0.7.3"]
BACKLOGS = 26
SCRIPT = "local t = redis.call('TIME') redis.call('PUBLISH', 'c', t[1] .. '.' .. string.format('%06d', t[2]))"


class Programs:
    def __init__(self, folder):
        self.folder, self.running = folder, {}

    def start(self, name, address, port, settings, *more):
        home = f"{self.folder}/{name}"
        os.makedirs(home, exist_ok=True)
        with open(f"{home}/redis.conf", "w") as file:
            file.write(f"dir {home}\nlogfile {home}/log\nbind {address}\nport {port}\nloglevel notice\nprotected-mode no\n{settings}")
        self.running[name] = subprocess.Popen(["redis-server", f"{home}/redis.conf", *more], stdout=subprocess.DEVNULL)
        wait_until(lambda: Link(address, port), 10, 0.01)

    def server(self, name, address):
        self.start(name, address, 6379, 'save ""\nappendonly no\nrepl-diskless-sync-delay 0\nmin-replicas-to-write 0\nmin-replicas-max-lag 10\n')

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()


def timers(note):
    poll = select.epoll()
    reader, _ = os.pipe()
    poll.register(reader, select.EPOLLIN)
    for _ in range(400):
        wait = 1000 // random.randrange(10, 20) / 1000
        begun = time.perf_counter()
        poll.poll(wait)
        note("timer", time.perf_counter() - begun - wait)


def exits(note, programs):
    for _ in range(60):
        programs.server("dies", "127.0.7.9")
        links = [Link("127.0.7.9") for _ in range(6)]
        time.sleep(random.uniform(0.1, 0.2))
        begun = time.perf_counter()
        programs.running["dies"].kill()
        try:
            links[0].file.readline()
        except OSError:
            pass
        note("exit", time.perf_counter() - begun)
        programs.running.pop("dies").wait()


def told(address, name):
    """When a Sentinel was last told what a server says of itself."""
    with Link(address, 26379) as link:
        while True:
            begun = time.time()
            fields = link.ask("SENTINEL", "MASTER", name)
            end = time.time()
            if end - begun < 0.002:
                return end - int(dict(zip(fields[::2], fields[1::2]))["info-refresh"]) / 1000


def backlogs(note, programs):
    programs.server("stands", "127.0.7.8")
    for address in ADDRESSES:
        with Link(address, 26379) as link:
            link.ask("SENTINEL", "MONITOR", "stands", "127.0.7.8", 6379, 2)
            link.ask("SENTINEL", "SET", "stands", "down-after-milliseconds", 100000000)
    server = programs.running["stands"]
    server.send_signal(signal.SIGSTOP)
    for number in range(BACKLOGS):
        # Each asks every 10 s, and all have been told at the same time.
        time.sleep(12 + random.uniform(0, 0.1))
        begun = time.time()
        server.send_signal(signal.SIGCONT)
        time.sleep(1)
        first = min(told(address, "stands") for address in ADDRESSES)
        if number:
            note("backlog", first - begun)
        server.send_signal(signal.SIGSTOP)
    server.send_signal(signal.SIGCONT)
    programs.kill("stands")


def heard(note):
    sentinel.SENTINEL, events = 6379, []
    listeners = [Listener(index, address, events) for index, address in enumerate(ADDRESSES, 1)]
    for listener in listeners:
        listener.start()
    time.sleep(0.5)
    code = ("import os, random, sys, time\nsys.path.append(sys.argv[1])\nfrom sentinel import Link\n"
            "links = [Link(one) for one in sys.argv[3:]]\nfor _ in range(400):\n"
            "    random.choice(links).ask('EVAL', sys.argv[2], 0)\n    time.sleep(random.uniform(0.03, 0.1))\n")
    subprocess.run([sys.executable, "-c", code, sys.path[-1], SCRIPT, *ADDRESSES], check=True)
    sentinel.SENTINEL = 26379
    for at, _, channel, text in events:
        if channel == "c":
            note("heard", at - float(text))
    for listener in listeners:
        listener.end()


class Timed(Aware):
    """Client A, which says how much too long it paused and waited."""

    note = None

    def find(self):
        with Link(random.choice(self.sentinels), 26379, 0.5) as link:
            address, _ = link.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinel.GROUP)
        self.link = Link(address)
        begun = time.perf_counter()
        try:
            role = self.link.ask("ROLE")[0]
        except TimeoutError:
            self.note("wait", time.perf_counter() - begun - sentinel.TIMEOUT)
            raise
        if role != "master":
            raise Refused("a replica")

    def run(self):
        while not self.over.is_set():
            try:
                self.find()
                while not self.over.is_set():
                    self.write()
            except (OSError, Refused):
                begun = time.perf_counter()
                time.sleep(sentinel.PAUSE)
                self.note("pause", time.perf_counter() - begun - sentinel.PAUSE)
            finally:
                if self.link:
                    self.link.close()


def main():
    sys.setswitchinterval(0.0005)
    os.nice(-10)
    folder, out = sys.argv[1:]
    programs = Programs(os.path.abspath(folder))
    rows = []

    def note(step, seconds):
        rows.append([step, f"{seconds:.6f}", f"{os.getloadavg()[0]:.1f}"])

    try:
        for index, address in enumerate(ADDRESSES, 1):
            programs.server(f"n{index}", address)
        settings = f"sentinel monitor {sentinel.GROUP} {ADDRESSES[0]} 6379 2\nsentinel down-after-milliseconds {sentinel.GROUP} 100000000\n"
        for index, address in enumerate(ADDRESSES, 1):
            programs.start(f"s{index}", address, 26379, settings, "--sentinel")
        timers(note)
        exits(note, programs)
        backlogs(note, programs)
        over = threading.Event()

        def watch(address):
            role = role_of(address)
            wait_until(lambda: over.is_set() or role()[0] == "none", 1000, 0.01)

        for address in ADDRESSES[1:]:
            threading.Thread(target=watch, args=(address,), daemon=True).start()
        heard(note)
        listeners = [Listener(index, address, []) for index, address in enumerate(ADDRESSES, 1)]
        for listener in listeners:
            listener.start()
        client = Timed(ADDRESSES)
        client.note = lambda step, seconds: None
        client.start()
        time.sleep(1)
        programs.running["n1"].send_signal(signal.SIGSTOP)
        time.sleep(3)
        client.note = note
        time.sleep(100)
        client.note = lambda step, seconds: None
        programs.kill("n1")
        time.sleep(3)
        client.note = lambda step, seconds: note(step, seconds) if step == "pause" else None
        time.sleep(20)
        over.set()
        client.end()
    finally:
        for name in list(programs.running):
            programs.kill(name)
    is_new = not os.path.exists(out)
    with open(out, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(["step", "seconds", "load1"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
