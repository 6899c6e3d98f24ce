"""Times what happens to a Redis Cluster of three primaries and three replicas after a fault, each node on a host, a network namespace:

    python cluster.py FOLDER NUMBER TRIALS OUT.csv FAULT NODE_TIMEOUT_MS FULL_COVERAGE

As root, at nice -10 (nodes run as the owner of FOLDER, where their logs stay, and which is to have none yet); needs redis-server, iproute2
and util-linux. FULL_COVERAGE is `yes` or `no`. FAULT is `kill` or `stop`: SIGKILL or SIGSTOP of a primary.

One trial: 1.5 to 3.5 s after all is well, the fault; 2 s after all survivors know the new primary and client A has been served by it, the old
one goes on. Client A pushes a value to the shard of that primary each 5 ms; it asks a random node for the map (0.3 s), connects to the owner,
and writes (1 s each). After an error it asks again, 50 ms later unless it was served on that connection. A client like that writes to another
shard each 20 ms. For `stop`, one stays with the old primary and waits for ever. Nodes are asked for what they think of the others each 20 ms,
the old primary for its role each 10 ms.
"""

import csv
import random
import re
import signal
import sys
import threading
import time
from datetime import datetime, timezone
from os import getloadavg, path

from hosts import Hosts, busy
from sentinel import (
    INTERVAL, PAUSE, ROLE_POLL, SERVER, TIMEOUT, Client, Link, Programs, Refused, Sticky, ask, lost, make_rows, numbers, role_of, seconds, wait_until)

NODES = [f"n{index}" for index in range(1, 7)]
SHARDS = ["0-5460", "5461-10922", "10923-16383"]
FIELDS = [
    "trial", "utc", "cluster", "redis", "node_timeout_ms", "full_coverage", "fault", "write_interval", "shard", "pfail_first", "pfail_last",
    "fail_first", "fail_last", "marked_log", "election_delay_ms", "election_start", "election_won", "n_elections", "n_expired", "promoted_self",
    "promoted_all", "state_fail_first", "state_ok_last", "client_last_ack", "client_detect", "client_first_ack", "unavail", "other_unavail",
    "n_acked", "n_lost", "lost_span", "resume", "old_acked_as_primary", "old_demoted", "old_linkup", "epoch_delta", "cpu_busy", "load1", "role_poll",
    "note"]


class Writer(Client):
    """Client A, and the one that writes to another shard."""

    def __init__(self, nodes, key, slot, interval):
        super().__init__(key)
        self.nodes, self.slot, self.interval = nodes, slot, interval

    def find(self):
        with Link(random.choice(self.nodes), timeout=0.3) as node:
            owners = [entry[2] for entry in node.ask("CLUSTER", "SLOTS") if entry[0] <= self.slot <= entry[1]]
        if not owners:
            raise Refused("nobody's")
        self.link = Link(owners[0][0])

    def run(self):
        while not self.over.is_set():
            served = False
            try:
                self.find()
                while not self.over.is_set():
                    sent = time.time()
                    value = next(numbers)
                    self.link.ask("RPUSH", self.key, value)
                    self.acknowledged.append((time.time(), value, self.link.address))
                    served = True
                    time.sleep(max(0, sent + self.interval - time.time()))
            except (OSError, Refused) as error:
                if self.over.is_set():
                    break
                self.fail(error)
                if not served:
                    time.sleep(PAUSE)
            finally:
                if self.link:
                    self.link.close()


class View:
    """What a node thinks of the others."""

    def __init__(self, answer):
        self.nodes = {}
        for line in answer.splitlines():
            name, at, flags, upstream, _, _, _, state, *slots = line.split(" ")
            self.nodes[name] = (at.partition(":")[0], set(flags.split(",")) - {"myself"}, upstream, state, slots)


class Watch(threading.Thread):
    """Asks a survivor what it thinks of the old primary and the new one; `seen` has when it was first so."""

    def __init__(self, address, old, new):
        super().__init__(daemon=True)
        self.address, self.old, self.new, self.seen, self.over = address, old, new, {}, threading.Event()

    def run(self):
        link = None
        while not self.over.is_set():
            try:
                link = link or Link(self.address)
                nodes, now = View(link.ask("CLUSTER", "NODES")).nodes, time.time()
                flags = nodes[self.old][1]
                if flags & {"fail?", "fail"}:
                    self.seen.setdefault("pfail", now)
                if "fail" in flags:
                    self.seen.setdefault("fail", now)
                if "master" in nodes[self.new][1] and nodes[self.new][4]:
                    self.seen.setdefault("promoted", now)
            except (OSError, Refused):
                link = None
            time.sleep(0.02)


class Cluster:
    def __init__(self, folder, number, node_timeout, full_coverage):
        self.hosts = Hosts(number, folder, NODES)
        self.programs = Programs(self.hosts)
        self.settings = (f"port {SERVER}\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\ncluster-enabled yes\n"
                         f"cluster-node-timeout {node_timeout}\ncluster-require-full-coverage {full_coverage}\n")
        self.keys = {}

    def address(self, name):
        return self.hosts.address(name)

    def start(self):
        self.hosts.make()
        for name in NODES:
            if path.exists(f"{self.hosts.folder}/{name}"):
                raise SystemExit(f"{self.hosts.folder} is to be empty")
            self.programs.start(name, name, self.settings)
        time.sleep(2)
        for epoch, (name, slots) in enumerate(zip(NODES, SHARDS), 1):
            ask(self.address(name), "CLUSTER", "ADDSLOTSRANGE", *slots.split("-"))
            ask(self.address(name), "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for name in NODES[1:]:
            ask(self.address(name), "CLUSTER", "MEET", self.address("n1"), SERVER)
        wait_until(lambda: all(len(View(ask(self.address(name), "CLUSTER", "NODES")).nodes) == 6 for name in NODES), 60, 0.2)
        time.sleep(2)
        for name, primary in zip(NODES[3:], NODES):
            ask(self.address(name), "CLUSTER", "REPLICATE", ask(self.address(primary), "CLUSTER", "MYID"))
        for number in range(1000):
            slot = ask(self.address("n1"), "CLUSTER", "KEYSLOT", f"k{number}")
            shard = next(shard for shard in SHARDS if int(shard.split("-")[0]) <= slot <= int(shard.split("-")[1]))
            self.keys.setdefault(shard, (f"{{k{number}}}", slot))

    def shards(self):
        """Of each shard the primary and its replica, if all is well: their names and identifiers."""
        views = [View(ask(self.address(name), "CLUSTER", "NODES")).nodes for name in NODES]
        if any(view.keys() != views[0].keys() for view in views):
            return None
        for view in views:
            if any(flags not in ({"master"}, {"slave"}) or state != "connected" for _, flags, _, state, _ in view.values()):
                return None
            if any(one[1:3] + one[4:] != views[0][name][1:3] + views[0][name][4:] for name, one in view.items()):
                return None
        if any("cluster_state:ok" not in ask(self.address(name), "CLUSTER", "INFO") for name in NODES):
            return None
        names = {self.address(name): name for name in NODES}
        found = {}
        for primary, (at, _, _, _, slots) in views[0].items():
            if slots:
                replicas = [(names[one[0]], name) for name, one in views[0].items() if one[2] == primary]
                if len(replicas) != 1 or ask(self.address(replicas[0][0]), "ROLE")[3] != "connected":
                    return None
                found[slots[0]] = ((names[at], primary), replicas[0])
        return found if len(found) == 3 else None

    def epoch(self):
        return int(re.search(r"cluster_current_epoch:(\d+)", ask(self.address("n1"), "CLUSTER", "INFO"))[1])

    def log(self, name, pattern, begun, end):
        """When the log says so, and what is in the parentheses of the pattern."""
        found = []
        with open(f"{self.hosts.folder}/{name}/log", errors="replace") as file:
            for line in file:
                if match := re.match(r"\d+:\w (\d+ \w+ \d+ [\d:.]+) . " + pattern, line):
                    at = datetime.strptime(match[1], "%d %b %Y %H:%M:%S.%f").astimezone().timestamp()
                    if begun - 0.001 <= at <= end:
                        found.append((at, *match.groups()[1:]))
        return found


def trial(cluster, fault, settings, writer, file):
    hosts, programs = cluster.hosts, cluster.programs
    shards, _ = wait_until(cluster.shards, 120, 0.1)
    if not shards:
        raise SystemExit("it does not become well")
    shard, elsewhere = random.sample(SHARDS, 2)
    (old, old_id), (new, new_id) = shards[shard]
    (key, slot), (other_key, other_slot) = cluster.keys[shard], cluster.keys[elsewhere]
    for name in (key + "a", key + "b"):
        ask(cluster.address(old), "DEL", name)
    ask(cluster.address(shards[elsewhere][0][0]), "DEL", other_key + "c")
    nodes = [cluster.address(name) for name in NODES]
    aware, other = Writer(nodes, key + "a", slot, INTERVAL), Writer(nodes, other_key + "c", other_slot, 0.02)
    sticky = Sticky(hosts, old, key + "b") if fault == "stop" else None
    clients = [client for client in (aware, other, sticky) if client]
    for client in clients:
        client.start()
    time.sleep(random.uniform(1.5, 3.5))
    survivors = [name for name in NODES if name != old]
    watches = {name: Watch(cluster.address(name), old_id, new_id) for name in survivors}
    epoch, before = cluster.epoch(), busy()
    begun = time.time()
    if fault == "kill":
        programs.kill(old)
    else:
        programs.pause(old)
    for watch in watches.values():
        watch.start()

    def served():
        return next((t for t, _, address in list(aware.acknowledged) if t > begun and address == cluster.address(new)), None)

    wait_until(lambda: served() and all("promoted" in watch.seen for watch in watches.values()), 60, 0.02)
    time.sleep(2)
    if fault == "kill":
        programs.start(old, old)
    else:
        programs.pause(old, signal.SIGCONT)
    resume = time.time()
    for watch in watches.values():
        watch.over.set()
    role = role_of(cluster.address(old))
    _, demoted = wait_until(lambda: role()[0] == "slave", 60, ROLE_POLL)
    _, linked = wait_until(lambda: role()[3] == "connected", 60, ROLE_POLL)
    after, load = busy(), getloadavg()[0]
    time.sleep(0.3)
    for client in clients:
        client.end()
    shards, _ = wait_until(cluster.shards, 120, 0.1)
    if not shards:
        raise SystemExit("it does not become well again")
    final = shards[shard][0][0]
    left = set(ask(cluster.address(final), "LRANGE", key + "a", 0, -1))

    def seen(what, of, which):
        times = [watches[name].seen.get(what) for name in of]
        return seconds(which(times) if all(times) or which is min and any(times) and (times := [t for t in times if t]) else None, begun)

    def logged(of, pattern, which=min):
        times = [line[0] for name in of for line in cluster.log(name, pattern, begun, resume)]
        return seconds(which(times, default=None), begun)

    delays = cluster.log(new, r"Start of election delayed for (\d+) milliseconds", begun, resume)
    elections = len(cluster.log(new, r"Starting a failover election", begun, resume))
    expired = len(cluster.log(new, r".*Failover attempt expired", begun, resume))
    others = [name for (name, _), _ in shards.values() if name != final]
    first = served()
    last = max((t for t, _, address in aware.acknowledged if address == cluster.address(old) and (not first or t < first)), default=None)
    error = next((t for t in aware.errors if t > begun), None)
    times = [t for t, _, _ in other.acknowledged]
    gap = max((b - a for a, b in zip(times, times[1:]) if b > begun and a < resume), default=None)
    gone = lost(aware, left)
    share = (after[0] - before[0]) / (after[1] - before[1])
    utc = datetime.fromtimestamp(begun, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    writer.writerow([
        f"{hosts.number}-{int(begun)}", utc, hosts.number, "7.0.15", *settings, fault, f"{INTERVAL:.3f}", shard,
        seen("pfail", survivors, min), seen("pfail", others, max), seen("fail", survivors, min), seen("fail", survivors, max),
        logged(survivors, r"Marking node \w+ as failing \(quorum reached\)"), delays[0][1] if delays else "",
        logged([new], "Starting a failover election"), logged([new], "Failover election won"), elections, expired,
        seen("promoted", [new], min), seen("promoted", survivors, max), logged(survivors, "Cluster state changed: fail"),
        logged(survivors, "Cluster state changed: ok", max), seconds(last, begun), seconds(error, begun), seconds(first, begun),
        f"{first - last:.3f}" if first and last else "", f"{gap:.3f}" if gap else "", len(aware.acknowledged), len(gone),
        f"{gone[-1] - gone[0]:.3f}" if gone else "", seconds(resume, begun),
        sum(t > resume for t, _, _ in sticky.acknowledged) if sticky else "", seconds(demoted, begun), seconds(linked, begun),
        cluster.epoch() - epoch, f"{share:.3f}", f"{load:.3f}", f"{ROLE_POLL:.3f}", "" if final == new else "another_primary"])
    file.flush()


def main():
    sys.setswitchinterval(0.0005)
    folder, number, trials, out, fault, *settings = sys.argv[1:]
    cluster = Cluster(folder, int(number), *settings)
    try:
        cluster.start()
        make_rows(out, FIELDS, int(trials), lambda writer, file: trial(cluster, fault, settings, writer, file))
    finally:
        cluster.programs.end()


if __name__ == "__main__":
    main()
