"""Moves a slot of a Redis Cluster twice, and looks whose it is then; three primaries and three replicas, each on a host, a network namespace:

    python reshard.py FOLDER NUMBER TRIALS OUT.csv FAULT

As root, at nice -10 (nodes run as the owner of FOLDER, where their logs stay, and which is to have none yet); needs redis-server, iptables,
iproute2 and util-linux. FAULT is `cut` or `none`: what node 2 and the operator send to node 3 is dropped for 3.5 s, or nothing is.

One trial, with the schedule of `cluster/rz40-old-claim-counts` of hasim's catalogue: 1.5 to 3.5 s after all is well, the fault; 0.1 s later an
operator on a host of its own begins to move a slot that was node 1's all along to node 2, and 5 s later from node 2 to node 3. It sends what
`redis-cli --cluster reshard` does (`redis-cli.c:clusterManagerMoveSlot`), in that order, each on a new connection; node 3 is told once the
kernel's repetition of a connection request gets through. In the slot are ten keys, and a list to which a client like A of `cluster.py` pushes a
value each 50 ms. Nodes are asked each 20 ms whose the slot is, until 10 s after the second move. Then all primaries are told that it is
node 3's, so that the next trial begins with nodes that agree.
"""

import random
import sys
import threading
import time
from datetime import datetime, timezone
from os import getloadavg

from cluster import NODES, SHARDS, Cluster, Writer
from hosts import Hosts, busy, sh
from sentinel import SERVER, Link, Programs, Refused, ask, lost, make_rows, seconds, wait_until

PRIMARIES, OPERATOR = NODES[:3], "o1"
NODE_TIMEOUT, INTERVAL, LOOK, KEYS = 15000, 0.05, 0.02, 10
CUT, FIRST, SECOND, AFTER = 3.5, 0.1, 5.1, 10
FIELDS = [
    "trial", "utc", "cluster", "redis", "node_timeout_ms", "fault", "write_interval", "slot", "first_told3", "second_begin", "second_done",
    "sees2", "sees3", "given_back", "view1", "view2", "view3", "view4", "view5", "view6", "keys", "keys_left", "n_acked", "n_lost",
    "client_last_ack", "over", "cpu_busy", "load1", "note"]


class Reshardable(Cluster):
    """With a host for the operator."""

    def __init__(self, folder, number):
        super().__init__(folder, number, NODE_TIMEOUT, "yes")
        self.hosts = Hosts(number, folder, [*NODES, OPERATOR])
        self.programs = Programs(self.hosts)
        self.settings += "loglevel verbose\n"

    def start(self):
        super().start()
        self.ids = [ask(self.address(name), "CLUSTER", "MYID") for name in NODES]
        information = ask(self.address("n1"), "INFO", "server").splitlines()
        self.release = next(line.partition(":")[2] for line in information if line.startswith("redis_version:"))
        slots = {ask(self.address("n1"), "CLUSTER", "KEYSLOT", f"k{number}"): f"{{k{number}}}" for number in range(1000)}
        self.unmoved = [(tag, slot) for slot, tag in slots.items() if slot <= int(SHARDS[0].split("-")[1])]

    def cut(self, action="-A"):
        """Drops what node 2 and the operator send to node 3, or ends that."""
        enter = f"ip netns exec {self.hosts.namespace('n3')}"
        sh(" && ".join(f"{enter} iptables {action} INPUT -s {self.address(name)} -j DROP" for name in ("n2", OPERATOR)))


class Owner(threading.Thread):
    """Whose a slot is as a node sees it, by the number of that node; `seen` has since when."""

    def __init__(self, cluster, name, slot):
        super().__init__(daemon=True)
        self.cluster, self.address, self.slot, self.seen, self.over = cluster, cluster.address(name), slot, [], threading.Event()

    def run(self):
        with Link(self.address) as link:
            while not self.over.is_set():
                entries = [entry for entry in link.ask("CLUSTER", "SLOTS") if entry[0] <= self.slot <= entry[1]]
                owner = 1 + self.cluster.ids.index(entries[0][2][2]) if entries else None
                if not self.seen or self.seen[-1][1] != owner:
                    self.seen.append((time.time(), owner))
                time.sleep(LOOK)

    def since(self, holds):
        return next(((at, owner) for at, owner in self.seen if holds(owner)), (None, None))[0]


class Move(threading.Thread):
    """The operator moves a slot; `told` has when a node had answered who the new owner is, `error` what went wrong."""

    def __init__(self, cluster, slot, source, target):
        super().__init__(daemon=True)
        self.cluster, self.slot, self.source, self.target, self.told, self.error = cluster, slot, source, target, {}, ""

    def ask(self, name, *words):
        with Link(self.cluster.address(name), timeout=60, here=True) as link:
            return link.ask(*words)

    def run(self):
        try:
            self.cluster.hosts.enter(OPERATOR)
            self.move()
        except (OSError, Refused) as error:
            self.error = str(error)

    def move(self):
        slot, source, target = self.slot, self.source, self.target
        source_id, target_id = (self.cluster.ids[NODES.index(name)] for name in (source, target))
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            self.ask(source, "MIGRATE", self.cluster.address(target), SERVER, "", 0, 60000, "KEYS", *keys)
        for name in [target, source, *(name for name in PRIMARIES if name not in (source, target))]:
            self.ask(name, "CLUSTER", "SETSLOT", slot, "NODE", target_id)
            self.told[name] = time.time()


def served(cluster, *words):
    """What the primaries answer that take the slot for theirs."""
    answers = []
    for name in PRIMARIES:
        try:
            answers.append(ask(cluster.address(name), *words))
        except Refused:
            pass
    return answers


def trial(cluster, fault, writer, file):
    shards, _ = wait_until(cluster.shards, 120, 0.1)
    if not shards:
        raise SystemExit("it does not become well")
    tag, slot = cluster.unmoved.pop()
    keys = [f"{tag}{number}" for number in range(KEYS)]
    for key in keys:
        ask(cluster.address("n1"), "SET", key, key)
    client = Writer([cluster.address(name) for name in NODES], tag + "list", slot, INTERVAL)
    views = [Owner(cluster, name, slot) for name in NODES]
    for thread in (client, *views):
        thread.start()
    time.sleep(random.uniform(1.5, 3.5))
    before = busy()
    if fault == "cut":
        cluster.cut()
    begun = time.time()
    moves = [Move(cluster, slot, "n1", "n2"), Move(cluster, slot, "n2", "n3")]

    def wait(until):
        time.sleep(max(0, begun + until - time.time()))

    wait(FIRST)
    moves[0].start()
    wait(CUT)
    if fault == "cut":
        cluster.cut("-D")
    wait(SECOND)
    moves[0].join()
    again = time.time()
    moves[1].start()
    moves[1].join()
    done = time.time()
    time.sleep(AFTER)
    over = time.time()
    after, load = busy(), getloadavg()[0]
    for view in views:
        view.over.set()
    client.end()
    left = sum(any(answer == key for answer in served(cluster, "GET", key)) for key in keys)
    gone = lost(client, {value for answer in served(cluster, "LRANGE", client.key, 0, -1) for value in answer})
    third = views[2]
    had = third.since(lambda owner: owner == 3)
    back = next((at for at, owner in third.seen if had and at > had and owner != 3), None)
    for name in reversed(PRIMARIES):
        ask(cluster.address(name), "CLUSTER", "SETSLOT", slot, "NODE", cluster.ids[2])
    share = (after[0] - before[0]) / (after[1] - before[1])
    utc = datetime.fromtimestamp(begun, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    writer.writerow([
        f"{cluster.hosts.number}-{int(begun)}", utc, cluster.hosts.number, cluster.release, NODE_TIMEOUT, fault, f"{INTERVAL:.3f}", slot,
        seconds(moves[0].told.get("n3"), begun), seconds(again, begun), seconds(done, begun), seconds(third.since(lambda owner: owner == 2), begun),
        seconds(had, begun), seconds(back, begun), *(view.seen[-1][1] for view in views), KEYS, left, len(client.acknowledged), len(gone),
        seconds(max((at for at, _, _ in client.acknowledged), default=None), begun), seconds(over, begun), f"{share:.3f}", f"{load:.3f}",
        " ".join(filter(None, (move.error for move in moves)))])
    file.flush()


def main():
    sys.setswitchinterval(0.0005)
    folder, number, trials, out, fault = sys.argv[1:]
    cluster = Reshardable(folder, int(number))
    try:
        cluster.start()
        make_rows(out, FIELDS, int(trials), lambda writer, file: trial(cluster, fault, writer, file))
    finally:
        cluster.programs.end()


if __name__ == "__main__":
    main()
