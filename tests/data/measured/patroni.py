"""Times what happens to a whole cluster after a fault, that of `../inputs/failover.py`, each host a network namespace:

    python3 patroni.py FOLDER NUMBER TRIALS QUARTER OUT.csv FAULT TTL LOOP_WAIT RETRY_TIMEOUT SYNCHRONOUS

As root (PostgreSQL, Patroni and etcd run as the owner of FOLDER); needs iptables, iproute2 and util-linux besides. SYNCHRONOUS is `on` or `off`.
FAULT is one of

- `crash`: Patroni and PostgreSQL of the leader are stopped and killed at one instant
- `crash_silent`: the same after all packets of its host are dropped
- `pgkill`: SIGKILL of the leader's postmaster
- `partition`: all packets of the leader's host are dropped for a minute
- `pause`: Patroni and PostgreSQL of the leader are frozen for a minute (a cgroup of the freezer, version 1)
- `switchover`: a POST to /switchover of the leader names it, and no candidate

One trial: some seconds after all is well, the fault. Client A writes a row each 50 ms, to the first of the three servers that says it
is not in recovery; it asks each of them 0.1 s after its last answer, waits 2 s for one, and 3 s for one to a write. Client B is a process on the leader's
host that writes to that server alone, as often, and waits for ever. A member that is not well 75 s after the fault is over is made anew.
"""

import json
import os
import random
import select
import shutil
import signal
import sys
import threading
import time
import urllib.request
from datetime import datetime

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../inputs"))
import failover  # noqa: E402
from failover import FOLDER, MEMBERS, NUMBER  # noqa: E402
from hosts import Hosts, busy  # noqa: E402

FAULT, SYNCHRONOUS = sys.argv[6], sys.argv[10]
TTL, LOOP_WAIT, RETRY_TIMEOUT = map(int, sys.argv[7:10])
HOSTS = Hosts(NUMBER, FOLDER, [f"{kind}{member}" for kind in "ne" for member in MEMBERS])
LASTS, REPAIR = 60, 75
FREEZER = "/sys/fs/cgroup/freezer"
failover.SETTINGS = f"ttl: {TTL}, loop_wait: {LOOP_WAIT}, retry_timeout: {RETRY_TIMEOUT}, synchronous_mode: {SYNCHRONOUS}"
failover.FIELDS = [
    "trial", "utc", "cluster", "patroni", "pg", "etcd", "ttl", "loop_wait", "retry_timeout", "sync", "fault", "leader", "new_leader",
    "leader_del", "leader_new", "race_log", "promote_log", "promote_recv", "pg_promoted", "rw_poll", "client_last_ack", "client_first_ack",
    "unavail", "n_acked", "n_lost", "b_last_ack", "b_acked_after", "b_acked_after_resume", "b_lost", "b_readonly", "old_demote_log", "resume", "rejoined",
    "rejoin_reinit", "sync_at_t0", "new_was_sync", "leader_changed", "pg_restart_ready", "cpu_busy", "load1", "note"]
waits = threading.local()
acknowledged, numbers = [], iter(range(1, 1 << 40))


def answer(connection):
    """What psycopg2 waits for an answer with: no longer than this thread is to wait."""
    limit = getattr(waits, "limit", None)
    until = limit and time.monotonic() + limit
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        reads, writes = ([connection], []) if state == psycopg2.extensions.POLL_READ else ([], [connection])
        left = max(0, until - time.monotonic()) if until else None
        if not any(select.select(reads, writes, [], left)):
            raise psycopg2.OperationalError("no answer")


def look_for_primary(member, found, done):
    waits.limit = 2
    while not done.is_set() and not failover.over.is_set():
        try:
            session = failover.connect(member)
            cursor = session.cursor()
            cursor.execute("select pg_is_in_recovery()")
            if not cursor.fetchone()[0]:
                found.append(session)
                done.set()
                return
            session.close()
        except psycopg2.Error:
            pass
        time.sleep(0.1)


def write_rows():
    """Client A."""
    waits.limit = 3
    while not failover.over.is_set():
        found, done = [], threading.Event()
        for member in MEMBERS:
            threading.Thread(target=look_for_primary, args=(member, found, done), daemon=True).start()
        done.wait()
        try:
            cursor = found[0].cursor()
            cursor.execute("create table if not exists t(v bigint)")
            while not failover.over.is_set():
                write(cursor, next(numbers), acknowledged)
        except psycopg2.Error:
            pass


def write(cursor, value, into):
    cursor.execute("insert into t values (%s)", (value,))
    into.append((time.time(), value))
    time.sleep(0.05)


def stick_to(member, into, ended):
    """Client B, on the member's host; its values are negative."""
    HOSTS.enter(f"n{member}")
    try:
        cursor = failover.connect(member).cursor()
        while not failover.over.is_set():
            write(cursor, -next(numbers), into)
    except psycopg2.Error:
        ended.append(time.time())


def healthy_leader():
    leader = well_but_for_synchrony()
    if leader and SYNCHRONOUS == "on" and not synchronous_standby(leader):
        return None
    return leader


def synchronous_standby(leader):
    members = json.load(urllib.request.urlopen(f"{failover.rest(leader)}/cluster", timeout=2))["members"]
    return next((m["name"] for m in members if m["role"] == "sync_standby"), None)


well_but_for_synchrony, failover.healthy_leader = failover.healthy_leader, healthy_leader


def freeze(member):
    group = f"{FREEZER}/{HOSTS.namespace(f'n{member}')}"
    os.makedirs(group, exist_ok=True)
    known = set()
    # Those that are forked meanwhile are in the group, too.
    while pids := set(HOSTS.processes(f"n{member}")) - known:
        known |= pids
        for pid in pids:
            try:
                with open(f"{group}/cgroup.procs", "w") as file:
                    file.write(str(pid))
            except ProcessLookupError:
                pass
    set_freezer(member, "FROZEN")


def set_freezer(member, state):
    with open(f"{FREEZER}/{HOSTS.namespace(f'n{member}')}/freezer.state", "w") as file:
        file.write(state)


def kill_postmaster(member):
    with open(f"{FOLDER}/n{member}/postmaster.pid") as file:
        os.kill(int(file.readline()), signal.SIGKILL)


def repair(member):
    """Waits until all is well. Returns when, and whether the member had to be made anew."""
    until = time.time() + REPAIR
    while time.time() < until:
        if healthy_leader():
            return time.time(), 0
        time.sleep(0.5)
    failover.crash(member)
    shutil.rmtree(f"{FOLDER}/n{member}")
    failover.start_member(member)
    failover.wait_until_healthy()
    return time.time(), 1


def switch_over(leader):
    body = json.dumps({"leader": f"n{leader}"}).encode()
    request = urllib.request.Request(f"{failover.rest(leader)}/switchover", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60)


def survivors(leader):
    cursor = failover.connect(leader).cursor()
    cursor.execute("select v from t")
    return {value for value, in cursor.fetchall()}


def ready(member, since):
    """When a server was started again, as a primary or promoted."""
    return failover.stamp(member, "LOG:  database system is ready to accept connections", since)


def trial(writer, file):
    leader = failover.wait_until_healthy()
    time.sleep(2 + random.random() * LOOP_WAIT)
    standby = synchronous_standby(leader) if SYNCHRONOUS == "on" else None
    opened, sticky, ended = {}, [], []
    for member in MEMBERS:
        if member != leader:
            threading.Thread(target=failover.watch_recovery, args=(member, opened), daemon=True).start()
    if FAULT in ("partition", "pause"):
        threading.Thread(target=stick_to, args=(leader, sticky, ended), daemon=True).start()
        time.sleep(0.5)
    before = busy()
    acknowledged.clear()
    time.sleep(0.2)
    begun = time.time()
    match FAULT:
        case "switchover":
            switch_over(leader)
        case "crash":
            failover.crash(leader)
        case "crash_silent":
            HOSTS.cut_off(f"n{leader}")
            failover.crash(leader)
        case "pgkill":
            kill_postmaster(leader)
        case "partition":
            HOSTS.cut_off(f"n{leader}")
        case "pause":
            freeze(leader)
    while not opened and time.time() - begun < 60 and not (FAULT == "pgkill" and ready(leader, begun)):
        time.sleep(0.1)
    time.sleep(5)
    after, load, resume = busy(), os.getloadavg()[0], None
    if FAULT in ("partition", "pause"):
        time.sleep(max(0, begun + LASTS - time.time()))
    if FAULT in ("crash_silent", "partition"):
        HOSTS.join(f"n{leader}")
    if FAULT == "pause":
        set_freezer(leader, "THAWED")
    if FAULT in ("crash_silent", "partition", "pause"):
        resume = time.time()
    if FAULT.startswith("crash"):
        failover.start_member(leader)
    rejoined, anew = repair(leader)
    left = survivors(failover.wait_until_healthy())
    share = (after[0] - before[0]) / (after[1] - before[1])
    # In place without a failover.
    for member, (at, _) in (opened or {leader: (None, None)}).items():
        deleted = next((t for t, name in failover.changes if t >= begun and name is None), None)
        taken = next((t for t, name in failover.changes if t >= begun and name == f"n{member}"), None)
        log = [failover.stamp(member, "INFO: " + pattern, begun) for pattern in ("Got response from", "promoted self")]
        server = [failover.stamp(member, "LOG:  " + pattern, begun) for pattern in ("received promote request", "archive recovery complete")]
        started = ready(member, begun)
        # It may be told before the session that asks each 25 ms.
        first = next((t for t, _ in acknowledged if t >= (server[1] or started or begun) - 0.03), None)
        last = max((t for t, _ in acknowledged if first and t < first), default=None)
        demoted = failover.stamp(leader, "(INFO|WARNING|ERROR): .*[Dd]emot", begun)
        b_last = max((t for t, _ in sticky), default=None)
        b_counts = [sum(t >= begun for t, _ in sticky), sum(resume is not None and t >= resume for t, _ in sticky),
                    sum(value not in left for _, value in sticky)] if sticky else [""] * 3
        lost = sum(value not in left for _, value in acknowledged)
        (deleted, taken, race, promoted, request, recovered, at, last, first, b_last, b_ended, demoted, resumed, well, started) = (
            f"{t - begun:.3f}" if t else "" for t in
            [deleted, taken, *log, *server, at, last, first, b_last, ended[0] if ended else None, demoted, resume, rejoined, started])
        utc = datetime.utcfromtimestamp(begun).isoformat(timespec="milliseconds") + "Z"
        unavailable = f"{float(first) - float(last):.3f}" if first and last else ""
        in_sync = "" if standby is None else int(standby == f"n{member}")
        writer.writerow(
            [f"{NUMBER}-{int(begun)}", utc, NUMBER, "4.1.5", "15.20", "3.4.23", TTL, LOOP_WAIT, RETRY_TIMEOUT, SYNCHRONOUS, FAULT, f"n{leader}",
             f"n{member}", deleted, taken, race, promoted, request, recovered, at, last, first, unavailable, len(acknowledged),
             lost, b_last, *b_counts, b_ended, demoted, resumed, well, anew, standby or "", in_sync, int(member != leader), started,
             f"{share:.3f}", f"{load:.3f}", ""])
        file.flush()


psycopg2.extensions.set_wait_callback(answer)
failover.address, failover.on = HOSTS.address, HOSTS.on
failover.write_rows, failover.trial = write_rows, trial

if __name__ == "__main__":
    HOSTS.make()
    try:
        failover.main()
    finally:
        failover.over.set()
        HOSTS.remove()
