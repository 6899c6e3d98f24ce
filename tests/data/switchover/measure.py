"""Times switchovers of a whole cluster, that of `../inputs/failover.py`, whose arguments these are:

    python3 measure.py FOLDER NUMBER TRIALS QUARTER OUT.csv

One trial: a few seconds after all is well, a POST to /switchover of the leader names it, and no candidate. The client writes a
row each 50 ms, to the first of the three servers that says it is not in recovery; it asks all of them each 100 ms.
"""

import json
import os
import random
import sys
import threading
import time
import urllib.request
from datetime import datetime

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../inputs"))
import failover  # noqa: E402

TTL, LOOP_WAIT, RETRY_TIMEOUT = 20, 5, 5  # As in `failover.CONFIG`.
acknowledged = []


def look_for_primary(member, found, done):
    while not done.is_set() and not failover.over.is_set():
        try:
            session = failover.connect(member)
            cursor = session.cursor()
            cursor.execute("set statement_timeout to '3s'")
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
    while not failover.over.is_set():
        found, done = [], threading.Event()
        for member in failover.MEMBERS:
            threading.Thread(target=look_for_primary, args=(member, found, done), daemon=True).start()
        done.wait()
        try:
            cursor = found[0].cursor()
            cursor.execute("create table if not exists t(v bigint)")
            while not failover.over.is_set():
                cursor.execute("insert into t values (1)")
                acknowledged.append(time.time())
                time.sleep(0.05)
        except psycopg2.Error:
            pass


def trial(writer, file):
    leader = failover.wait_until_healthy()
    time.sleep(2 + random.random() * LOOP_WAIT)
    opened = {}
    for member in failover.MEMBERS:
        if member != leader:
            threading.Thread(target=failover.watch_recovery, args=(member, opened), daemon=True).start()
    begun = time.time()
    address = f"http://127.0.0.1:{failover.REST[leader - 1]}/switchover"
    body = json.dumps({"leader": f"n{leader}"}).encode()
    urllib.request.urlopen(urllib.request.Request(address, body, {"Content-Type": "application/json"}), timeout=60)
    while not opened and time.time() - begun < 60:
        time.sleep(0.1)
    time.sleep(2)
    load = os.getloadavg()[0]
    for member, (at, _) in opened.items():
        deleted = next((t for t, name in failover.changes if t >= begun and name is None), None)
        taken = next((t for t, name in failover.changes if t >= begun and name == f"n{member}"), None)
        steps = [deleted, taken, failover.stamp(member, "INFO: promoted self", begun),
                 failover.stamp(member, "LOG:  received promote request", begun),
                 failover.stamp(member, "LOG:  archive recovery complete", begun), at]
        # The client may be told before the session that asks each 25 ms.
        first = next((t for t in acknowledged if t >= at - 0.03), None)
        if None in (*steps, first):
            print("incomplete", steps, flush=True)
            continue
        last = max(t for t in acknowledged if t < first)
        utc = datetime.utcfromtimestamp(begun).isoformat(timespec="milliseconds") + "Z"
        writer.writerow([f"s-{int(begun)}", utc, 1, "4.1.5", "15.20", "3.4.23", TTL, LOOP_WAIT, RETRY_TIMEOUT, "off",
                         "switchover", *(f"{step - begun:.3f}" for step in [*steps, first]), f"{first - last:.3f}", 1, "",
                         f"{load:.3f}", ""])
        file.flush()


failover.FIELDS = [
    "trial", "utc", "cluster", "patroni", "pg", "etcd", "ttl", "loop_wait", "retry_timeout", "sync", "fault",
    "leader_del", "leader_new", "promote_log", "promote_recv", "pg_promoted", "rw_poll", "client_first_ack", "unavail",
    "leader_changed", "pg_restart_ready", "load1", "note"]
failover.write_rows = write_rows
failover.trial = trial

if __name__ == "__main__":
    failover.main()
