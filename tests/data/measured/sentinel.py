"""Times what happens to a primary of Redis and three servers, watched by Sentinels, after a fault, each host a network namespace:

    python sentinel.py FOLDER NUMBER TRIALS OUT.csv FAULT SENTINELS QUORUM COLOCATED DOWN_AFTER_MS FAILOVER_TIMEOUT_MS MIN_REPLICAS

As root, at nice -10 (servers and Sentinels run as the owner of FOLDER, where their logs stay); needs redis-server, iptables, iproute2 and
util-linux. COLOCATED is 1 if Sentinel i lives on the host of server i, and 0 if it has one of its own. FAULT is one of

- `kill`: SIGKILL of the primary
- `stop`: SIGSTOP of the primary
- `partition`: all packets of the primary's host are dropped for 20 s
- `hostkill`: SIGKILL of the primary and of the Sentinel on its host

One trial: 1.5 to 3.5 s after all is well, the fault; 2 s after `+failover-end` what was killed or stopped goes on. Client A pushes a value,
and another one 5 ms after each answer; it asks a random Sentinel for the server (0.5 s), connects, and asks for its role (1 s each, as for a
write). After an error it asks again, 50 ms later unless it lost a server that it wrote to. Client B is on the primary's host and writes to
that server alone, as often, and waits for ever. What Sentinels say is timed as it is heard; servers are asked for their role each 10 ms.
"""

import csv
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime

from hosts import Hosts, busy

SERVER, SENTINEL, GROUP = 6379, 26379, "g"
INTERVAL, PAUSE, TIMEOUT, PARTITION, ROLE_POLL = 0.005, 0.05, 1.0, 20, 0.01
FIELDS = [
    "trial", "utc", "cluster", "redis", "n_sentinels", "quorum", "colocated", "down_after_ms", "failover_timeout_ms", "min_replicas", "fault",
    "client_timeout", "write_interval", "new_primary", "sdown1", "sdown2", "sdown3", "odown1", "odown2", "odown3", "sdown_first",
    "odown_first", "try_first", "n_try", "n_abort", "vote_first", "elected", "elected_s", "selected", "noone_sent", "role_master", "promoted",
    "reconf_sent", "switch1", "switch2", "switch3", "switch_first", "failover_end", "client_last_ack", "client_detect", "client_first_ack",
    "unavail", "n_acked", "n_lost", "lost_span", "n_refused", "resume", "b_last_ack", "b_acked_after", "b_acked_after_resume", "b_lost",
    "b_refused_first", "old_demoted", "old_linkup", "epoch_delta", "cpu_busy", "load1", "role_poll",
    "note"]
numbers = itertools.count(1)


class Refused(Exception):
    """An error answer."""


class Link:
    """A connection to a server or a Sentinel, from their bridge unless `here` is a host: there is none any more once the bridge is gone."""

    def __init__(self, address, port=SERVER, timeout=TIMEOUT, here=False):
        self.address = address
        source = None if here else (address.rpartition(".")[0] + ".254", 0)
        self.socket = socket.create_connection((address, port), timeout, source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def ask(self, *words):
        command = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in command))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2].decode()
        match kind:
            case b"-":
                raise Refused(rest)
            case b":":
                return int(rest)
            case b"$":
                return self.file.read(int(rest) + 2)[:-2].decode() if rest != "-1" else None
            case b"*":
                return [self.answer() for _ in range(int(rest))] if rest != "-1" else None
        return rest


def ask(address, *words, port=SERVER):
    with Link(address, port) as link:
        return link.ask(*words)


class Programs:
    """Servers and Sentinels by name, each on a host."""

    def __init__(self, hosts):
        self.hosts, self.running = hosts, {}

    def start(self, name, host, configuration=None):
        """With a new configuration, or the one that it has left."""
        home = f"{self.hosts.folder}/{name}"
        path = f"{home}/redis.conf"
        if configuration:
            os.makedirs(home, exist_ok=True)
            with open(path, "w") as file:
                file.write(f"dir {home}\nlogfile {home}/log\nloglevel notice\nprotected-mode no\n" + configuration)
            for one in (home, path):
                shutil.chown(one, self.hosts.owner, self.hosts.owner)
        if os.path.exists(f"{home}/dump.rdb"):
            os.remove(f"{home}/dump.rdb")  # It was sent by a primary.
        command = [*self.hosts.on(host), "redis-server", path, *(["--sentinel"] if "sentinel" in name else [])]
        self.running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def end(self):
        """And removes the hosts."""
        self.kill(*self.running)
        time.sleep(1)
        self.hosts.remove()

    def kill(self, *names):
        for name in names:
            self.running[name].kill()
        for name in names:
            self.running[name].wait()

    def pause(self, name, how=signal.SIGSTOP):
        self.running[name].send_signal(how)


class Client(threading.Thread):
    """What it was told, and when."""

    def __init__(self, key):
        super().__init__(daemon=True)
        self.key, self.over = key, threading.Event()
        self.acknowledged, self.errors, self.too_few, self.link = [], [], [], None

    def write(self):
        value = next(numbers)
        self.link.ask("RPUSH", self.key, value)
        self.acknowledged.append((time.time(), value, self.link.address))
        time.sleep(INTERVAL)

    def fail(self, error):
        self.errors.append(time.time())
        if "NOREPLICAS" in str(error):
            self.too_few.append(time.time())

    def end(self):
        self.over.set()
        if self.link:
            try:
                self.link.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.join(5)


class Aware(Client):
    """Client A."""

    def __init__(self, sentinels):
        super().__init__("a")
        self.sentinels = sentinels

    def find(self):
        with Link(random.choice(self.sentinels), SENTINEL, 0.5) as sentinel:
            address, _ = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP)
        self.link = Link(address)
        if self.link.ask("ROLE")[0] != "master":
            raise Refused("a replica")

    def run(self):
        while not self.over.is_set():
            writes = False
            try:
                self.find()
                writes = True
                while not self.over.is_set():
                    self.write()
            except (OSError, Refused) as error:
                if self.over.is_set():
                    break
                self.fail(error)
                if not writes or isinstance(error, Refused):
                    time.sleep(PAUSE)
            finally:
                if self.link:
                    self.link.close()


class Sticky(Client):
    """Client B, on a host; it stays with the server there."""

    def __init__(self, hosts, host, key="b"):
        super().__init__(key)
        self.hosts, self.host = hosts, host

    def run(self):
        self.hosts.enter(self.host)
        while not self.over.is_set():
            try:
                self.link = Link(self.hosts.address(self.host), timeout=None, here=True)
                while not self.over.is_set():
                    try:
                        self.write()
                    except Refused as error:
                        self.fail(error)
                        time.sleep(INTERVAL)
            except OSError:
                time.sleep(0.1)
            finally:
                if self.link:
                    self.link.close()


class Listener(threading.Thread):
    """What a Sentinel announces: (when, which Sentinel, what, to whom)."""

    def __init__(self, index, address, events):
        super().__init__(daemon=True)
        self.index, self.address, self.events, self.link, self.over = index, address, events, None, threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                self.link = Link(self.address, SENTINEL)
                self.link.ask("PSUBSCRIBE", "*")
                self.link.socket.settimeout(None)
                while True:
                    _, _, event, text = self.link.answer()
                    self.events.append((time.time(), self.index, event, text))
            except OSError:
                time.sleep(0.1)

    def hear_anew(self):
        try:
            self.link.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def end(self):
        self.over.set()
        if self.link:
            self.hear_anew()
            self.join(5)


def wait_until(holds, limit, step):
    """Returns what holds, and when; or nothing."""
    until = time.time() + limit
    while time.time() < until:
        try:
            found = holds()
            if found:
                return found, time.time()
        except (OSError, Refused):
            pass
        time.sleep(step)
    return None, None


def role_of(address):
    """Asks for it, on one connection as long as that goes."""
    link = None

    def role():
        nonlocal link
        try:
            link = link or Link(address, timeout=0.5)
            return link.ask("ROLE")
        except OSError:
            if link:
                link.close()
            link = None
            raise
    return role


def lost(client, left):
    return [at for at, value, _ in client.acknowledged if str(value) not in left]


def seconds(at, begun):
    return f"{at - begun:.3f}" if at else ""


class Group:
    def __init__(self, folder, number, sentinels, quorum, colocated, down_after, failover_timeout, min_replicas):
        self.servers = [f"n{index}" for index in range(1, 4)]
        names = [f"e{index}" for index in range(1, sentinels + 1)]
        self.hosts = Hosts(number, folder, self.servers if colocated else self.servers + names)
        self.places = self.servers[:sentinels] if colocated else names
        self.programs = Programs(self.hosts)
        self.sentinels = [self.hosts.address(place) for place in self.places]
        self.server_settings = (f"port {SERVER}\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nmin-replicas-to-write {min_replicas}\n"
                                "min-replicas-max-lag 10\n")
        self.sentinel_settings = (
            f"port {SENTINEL}\nsentinel monitor {GROUP} {self.hosts.address('n1')} {SERVER} {quorum}\n"
            f"sentinel down-after-milliseconds {GROUP} {down_after}\nsentinel failover-timeout {GROUP} {failover_timeout}\n")
        self.events = []
        self.listeners = [Listener(index, address, self.events) for index, address in enumerate(self.sentinels, 1)]

    def start(self):
        self.hosts.make()
        for name in self.servers:
            follows = "" if name == "n1" else f"replicaof {self.hosts.address('n1')} {SERVER}\n"
            self.programs.start(name, name, self.server_settings + follows)
        time.sleep(2)
        for index, place in enumerate(self.places, 1):
            self.programs.start(f"sentinel{index}", place, self.sentinel_settings)
        time.sleep(1)
        for listener in self.listeners:
            listener.start()

    def end(self):
        for listener in self.listeners:
            if listener.is_alive():
                listener.end()
        self.programs.end()

    def primary(self):
        """The host of the primary, if all is well."""
        addresses = {self.hosts.address(name): name for name in self.servers}
        found = set()
        for sentinel in self.sentinels:
            with Link(sentinel, SENTINEL) as link:
                pairs = [link.ask("SENTINEL", "MASTER", GROUP), *link.ask("SENTINEL", "REPLICAS", GROUP), *link.ask("SENTINEL", "SENTINELS", GROUP)]
            primary, *others = [dict(zip(pair[::2], pair[1::2])) for pair in pairs]
            found.add(primary["ip"])
            replicas = [other for other in others if other["flags"] == "slave" and other["master-link-status"] == "ok"]
            peers = [other for other in others if other["flags"] == "sentinel"]
            if primary["flags"] != "master" or len(others) != len(self.sentinels) + 1 or (len(replicas), len(peers)) != (2, len(self.sentinels) - 1):
                return None
            if any(replica["master-host"] != primary["ip"] for replica in replicas):
                return None
        primary, *more = found
        if more or len(ask(primary, "ROLE")[2]) != 2:
            return None
        for address in set(addresses) - found:
            kind, upstream, _, state, _ = ask(address, "ROLE")
            if (kind, upstream, state) != ("slave", primary, "connected"):
                return None
        return addresses[primary]

    def epoch(self):
        pairs = ask(self.sentinels[0], "SENTINEL", "MASTER", GROUP, port=SENTINEL)
        return int(dict(zip(pairs[::2], pairs[1::2]))["config-epoch"])

    def first(self, begun, event, start="", of=None):
        heard = (one for one in list(self.events) if one[0] > begun and re.fullmatch(event, one[2]) and one[3].startswith(start))
        return next((one for one in heard if of in (None, one[1])), None)

    def watch(self, name, promoted):
        role = role_of(self.hosts.address(name))
        _, at = wait_until(lambda: promoted or role()[0] == "master", 60, 0.01)
        if at and not promoted:
            promoted.append((at, name))


def trial(group, fault, settings, writer, file):
    hosts, programs = group.hosts, group.programs
    old, _ = wait_until(group.primary, 120, 0.2)
    if not old:
        raise SystemExit("it does not become well")
    ask(hosts.address(old), "DEL", "a", "b")
    aware, sticky = Aware(group.sentinels), Sticky(hosts, old) if fault in ("stop", "partition") else None
    clients = [client for client in (aware, sticky) if client]
    for client in clients:
        client.start()
    time.sleep(random.uniform(1.5, 3.5))
    epoch, before, promoted = group.epoch(), busy(), []
    victims = [old] + ([f"sentinel{1 + group.places.index(old)}"] if fault == "hostkill" else [])
    begun = time.time()
    match fault:
        case "kill" | "hostkill":
            programs.kill(*victims)
        case "stop":
            programs.pause(old)
        case "partition":
            hosts.cut_off(old)
            begun = time.time()
    for name in group.servers:
        if name != old:
            threading.Thread(target=group.watch, args=(name, promoted), daemon=True).start()
    wait_until(lambda: group.first(begun, r"\+failover-end"), 60, 0.02)
    if fault == "partition":
        time.sleep(max(0, begun + PARTITION - time.time()))
        hosts.join(old)
    else:
        time.sleep(2)
    if fault == "stop":
        programs.pause(old, signal.SIGCONT)
    resume = time.time()
    if fault in ("kill", "hostkill"):
        for name in victims:
            programs.start(name, old)
    if fault == "partition" and old in group.places:
        # What it has said meanwhile would be heard much later.
        group.listeners[group.places.index(old)].hear_anew()
    at, new = min(promoted, default=(None, None))
    role = role_of(hosts.address(old))
    _, demoted = wait_until(lambda: role()[0] == "slave", 60, ROLE_POLL) if new else (None, None)
    _, linked = wait_until(lambda: role()[1:4] == [hosts.address(new), SERVER, "connected"], 60, ROLE_POLL) if new else (None, None)
    after, load, note = busy(), os.getloadavg()[0], ""
    time.sleep(0.5)
    for client in clients:
        client.end()
    final, _ = wait_until(group.primary, 120, 0.2)
    if not final:
        raise SystemExit("it does not become well again")
    if final != new:
        note = "two_promoted" if new else "not_promoted"
    left = set(ask(hosts.address(final), "LRANGE", "a", 0, -1) + ask(hosts.address(final), "LRANGE", "b", 0, -1))

    def when(event, start="", of=None):
        heard = group.first(begun, event, start, of)
        return seconds(heard and heard[0], begun)

    count = sum(one[0] > begun and one[2] == "+try-failover" for one in group.events)
    aborted = sum(one[0] > begun and one[2].startswith("-failover-abort") for one in group.events)
    elected = group.first(begun, r"\+elected-leader")
    first = next((t for t, _, address in aware.acknowledged if t > begun and address != hosts.address(old)), None)
    last = max((t for t, _, address in aware.acknowledged if address == hosts.address(old) and t < (first or resume)), default=None)
    error = next((t for t in aware.errors if t > begun), None)
    gone = lost(aware, left)
    b = [""] * 5
    if sticky:
        times = [t for t, _, _ in sticky.acknowledged]
        refused = next((t for t in sticky.too_few if t > begun), None)
        b = [seconds(max(times, default=None), begun), sum(t > begun for t in times), sum(t > resume for t in times), len(lost(sticky, left)),
             seconds(refused, begun)]
    share = (after[0] - before[0]) / (after[1] - before[1])
    utc = datetime.utcfromtimestamp(begun).isoformat(timespec="milliseconds") + "Z"
    writer.writerow([
        f"{hosts.number}-{int(begun)}", utc, hosts.number, "7.0.15", *settings, fault, f"{TIMEOUT:.3f}", f"{INTERVAL:.3f}",
        hosts.address(new) if new else "", *(when(r"\+sdown", "master", of) for of in (1, 2, 3)), *(when(r"\+odown", "", of) for of in (1, 2, 3)),
        when(r"\+sdown", "master"), when(r"\+odown"), when(r"\+try-failover"), count, aborted, when(r"\+vote-for-leader"),
        seconds(elected and elected[0], begun), elected[1] if elected else "", when(r"\+selected-slave"),
        when(r"\+failover-state-wait-promotion"), seconds(at, begun), when(r"\+promoted-slave"), when(r"\+slave-reconf-sent"),
        *(when(r"\+switch-master", "", of) for of in (1, 2, 3)), when(r"\+switch-master"), when(r"\+failover-end"), seconds(last, begun),
        seconds(error, begun), seconds(first, begun), f"{first - last:.3f}" if first and last else "", len(aware.acknowledged), len(gone),
        f"{gone[-1] - gone[0]:.3f}" if gone else "", len(aware.too_few), seconds(resume, begun), *b, seconds(demoted, begun),
        seconds(linked, begun), group.epoch() - epoch, f"{share:.3f}", f"{load:.3f}", f"{ROLE_POLL:.3f}", note])
    file.flush()
    group.events.clear()


def make_rows(out, fields, trials, trial):
    """Adds rows to a file, which gets its header first."""
    with open(out, "a") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(fields)
        for _ in range(trials):
            trial(writer, file)


def main():
    sys.setswitchinterval(0.0005)
    folder, number, trials, out, fault, *settings = sys.argv[1:]
    sentinels, quorum, colocated, down_after, failover_timeout, min_replicas = map(int, settings)
    group = Group(folder, int(number), sentinels, quorum, colocated, down_after, failover_timeout, min_replicas)
    try:
        group.start()
        make_rows(out, FIELDS, int(trials), lambda writer, file: trial(group, fault, settings, writer, file))
    finally:
        group.end()


if __name__ == "__main__":
    main()
