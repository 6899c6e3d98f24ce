"""Times the steps of failovers of a whole cluster: three members of Patroni, three of etcd, everything on loopback.

usage: failover.py FOLDER NUMBER TRIALS QUARTER OUT.csv [API]   (as the owner of FOLDER, not root; needs patroni[etcd3]==4.1.5,
psycopg2, PostgreSQL 15 and etcd 3.4; NUMBER tells clusters apart that run at the same time; the log begins in this QUARTER of its segment, 1 to 4;
API is the version of etcd's API, 2 or 3, which it is unless told)

One trial: a client inserts a row each 50 ms; a few seconds after all is well, Patroni and PostgreSQL of the leader are
stopped and killed at one instant. A watch of the leader key tells when it was deleted and written with another name;
logs tell the rest, and a session at the new leader, which asks each 25 ms whether it is in recovery.
"""
import base64, csv, json, os, random, re, shutil, signal, subprocess, sys, threading, time, urllib.request
from datetime import datetime

import psycopg2

BIN = "/usr/lib/postgresql/15/bin"
MEMBERS = (1, 2, 3)
FIELDS = ["utc", "elect", "log", "request", "recovery", "quarter", "open", "load1"]
SEGMENT = 16 << 20
OFFSET = f"(pg_current_wal_lsn() - '0/0')::bigint % {SEGMENT}"
FOLDER, NUMBER, TRIALS, QUARTER, OUT = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
BY_VERSION_2 = sys.argv[6:] == ["2"]
ETCD = [23000 + 100 * NUMBER + 2 * member for member in MEMBERS]
REST = [18000 + 100 * NUMBER + member for member in MEMBERS]
SQL = [25400 + 100 * NUMBER + member for member in MEMBERS]
CONFIG = """
scope: c
name: n{member}
restapi: {{listen: {address}:{rest}, connect_address: {address}:{rest}}}
{store}: {{hosts: [{etcd}]}}
bootstrap:
  dcs:
    {{{settings}, maximum_lag_on_failover: 1048576,
      postgresql: {{use_pg_rewind: true, use_slots: true, parameters: {{shared_buffers: 32MB}}}}}}
  initdb: [{{encoding: UTF8}}, data-checksums]
postgresql:
  listen: {address}:{sql}
  connect_address: {address}:{sql}
  data_dir: {folder}/n{member}
  bin_dir: {bin}
  pg_hba: ["local all all trust", "host all all all trust", "host replication all all trust"]
  authentication:
    {{superuser: {{username: postgres, password: a}}, replication: {{username: replicator, password: b}},
      rewind: {{username: rewinder, password: c}}}}
  parameters: {{unix_socket_directories: {folder}, log_line_prefix: '%m [%p] ', logging_collector: 'off'}}
"""
SETTINGS = "ttl: 20, loop_wait: 5, retry_timeout: 5"
running, changes, over = {}, [], threading.Event()


def address(host):
    """Of a host: `n1` to `n3` are those of the members, `e1` to `e3` those of etcd."""
    return "127.0.0.1"


def on(host):
    """How a command begins that runs on a host."""
    return []


def rest(member):
    return f"http://{address(f'n{member}')}:{REST[member - 1]}"


def start_etcd():
    urls = {f"e{member}": [f"http://{address(f'e{member}')}:{port + peer}" for peer in (0, 1)]
            for member, port in zip(MEMBERS, ETCD)}
    peers = ",".join(f"{name}={peer}" for name, (_, peer) in urls.items())
    for name, (client, peer) in urls.items():
        log = open(f"{FOLDER}/{name}.log", "w")
        running[name] = subprocess.Popen(
            [*on(name), "etcd", "--name", name, "--data-dir", f"{FOLDER}/{name}",
             "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
             "--initial-advertise-peer-urls", peer, "--initial-cluster", peers, *(["--enable-v2"] if BY_VERSION_2 else [])],
            stdout=log, stderr=log)


def start_member(member):
    index = member - 1
    with open(f"{FOLDER}/n{member}.yml", "w") as file:
        etcd = ", ".join(f'"{address(f"e{m}")}:{port}"' for m, port in zip(MEMBERS, ETCD))
        file.write(CONFIG.format(member=member, address=address(f"n{member}"), rest=REST[index], sql=SQL[index], etcd=etcd,
                                 folder=FOLDER, bin=BIN, settings=SETTINGS, store="etcd" if BY_VERSION_2 else "etcd3"))
    log = open(f"{FOLDER}/n{member}.log", "a")
    running[member] = subprocess.Popen([*on(f"n{member}"), sys.executable, "-m", "patroni", file.name], stdout=log, stderr=log,
                                       start_new_session=True)


def connect(member):
    session = psycopg2.connect(host=address(f"n{member}"), port=SQL[member - 1], user="postgres", dbname="postgres",
                               connect_timeout=2)
    session.autocommit = True
    return session


def healthy_leader():
    """The leader if all stream from it on its timeline."""
    for member in MEMBERS:
        try:
            members = json.load(urllib.request.urlopen(f"{rest(member)}/cluster", timeout=2))["members"]
        except OSError:
            continue
        leaders = [m for m in members if m["role"] == "leader"]
        well = len(members) == 3 and len(leaders) == 1 and len({m.get("timeline") for m in members}) == 1
        if well and all(m["state"] == "streaming" for m in members if m["role"] != "leader"):
            return int(leaders[0]["name"][1:])
    return None


def wait_until_healthy():
    while (leader := healthy_leader()) is None:
        time.sleep(0.5)
    return leader


def watch_leader_key():
    key = base64.b64encode(b"/service/c/leader").decode()
    body = json.dumps({"create_request": {"key": key}}).encode()
    answers = urllib.request.urlopen(urllib.request.Request(f"http://{address('e1')}:{ETCD[0]}/v3/watch", body))
    for line in answers:
        for event in json.loads(line)["result"].get("events", []):
            value = event["kv"].get("value")
            changes.append((time.time(), base64.b64decode(value).decode() if value else None))


def poll_leader_key():
    """The same by API version 2."""
    url, index = f"http://{address('e1')}:{ETCD[0]}/v2/keys/service/c/leader?wait=true", ""
    while not over.is_set():
        try:
            answer = json.load(urllib.request.urlopen(f"{url}{index}", timeout=60))
        except OSError:
            continue
        index = f"&waitIndex={answer['node']['modifiedIndex'] + 1}"
        if answer["action"] != "compareAndSwap":
            changes.append((time.time(), answer["node"].get("value")))


def write_rows():
    while not over.is_set():
        for member in MEMBERS:
            try:
                cursor = connect(member).cursor()
                cursor.execute("create table if not exists t(v bigint)")
                while not over.is_set():
                    cursor.execute("insert into t values (1)")
                    time.sleep(0.05)
            except psycopg2.Error:
                time.sleep(0.05)


def move_log(leader):
    """Writes messages until the log ends in its quarter of the segment."""
    cursor = connect(leader).cursor()
    cursor.execute(f"select {OFFSET}")
    missing = SEGMENT * (QUARTER - 1) // 4 + SEGMENT // 50 - cursor.fetchone()[0]
    while missing > 0:
        length = min(missing, 400_000)
        cursor.execute("select pg_logical_emit_message(false, 'x', repeat('x', %s))", (length,))
        missing -= length


def watch_recovery(member, opened):
    try:
        cursor = connect(member).cursor()
        while member not in opened:
            cursor.execute("select pg_is_in_recovery()")
            if not cursor.fetchone()[0]:
                at = time.time()
                cursor.execute(f"select {OFFSET}")
                opened[member] = at, cursor.fetchone()[0] / SEGMENT
            time.sleep(0.025)
    except psycopg2.Error:
        pass


def stamp(member, pattern, since):
    for line in open(f"{FOLDER}/n{member}.log", errors="replace"):
        found = re.match(r"(\d+-\d+-\d+ \d+:\d+:\d+[.,]\d+) .*" + pattern, line)
        if found:
            at = datetime.strptime(found[1].replace(",", "."), "%Y-%m-%d %H:%M:%S.%f").timestamp()
            if at >= since:
                return at
    return None


def crash(member):
    postmaster = int(open(f"{FOLDER}/n{member}/postmaster.pid").readline())
    victims = {running[member].pid, postmaster}
    for parent in list(victims):
        children = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True).stdout
        victims.update(int(pid) for pid in children.split())
    for kind in (signal.SIGSTOP, signal.SIGKILL):
        for pid in victims:
            try:
                os.kill(pid, kind)
            except ProcessLookupError:
                pass
    running[member].wait()


def trial(writer, file):
    leader = wait_until_healthy()
    time.sleep(2 + random.random() * 5)
    opened = {}
    for member in MEMBERS:
        if member != leader:
            threading.Thread(target=watch_recovery, args=(member, opened), daemon=True).start()
    begun = time.time()
    crash(leader)
    while not opened and time.time() - begun < 60:
        time.sleep(0.1)
    time.sleep(1)
    load = os.getloadavg()[0]
    start_member(leader)
    for member, (at, offset) in opened.items():
        deleted = next((t for t, name in changes if t >= begun and name is None), None)
        taken = next((t for t, name in changes if t >= begun and name == f"n{member}"), None)
        steps = [deleted, taken, stamp(member, "INFO: promoted self", begun),
                 stamp(member, "LOG:  received promote request", begun),
                 stamp(member, "LOG:  archive recovery complete", begun), at]
        if None in steps:
            print("incomplete", steps, flush=True)
            continue
        lengths = [f"{after - before:.3f}" for before, after in zip(steps, steps[1:])]
        utc = datetime.utcfromtimestamp(deleted).isoformat(timespec="milliseconds") + "Z"
        writer.writerow([utc, *lengths[:-1], 1 + int(4 * offset), lengths[-1], f"{load:.2f}"])
        file.flush()


def main():
    for entry in os.listdir(FOLDER):
        path = os.path.join(FOLDER, entry)
        if re.fullmatch(r"[en]\d", entry):
            shutil.rmtree(path)
        elif re.fullmatch(r"n\d\.log", entry):
            os.remove(path)
    start_etcd()
    time.sleep(4)
    threading.Thread(target=poll_leader_key if BY_VERSION_2 else watch_leader_key, daemon=True).start()
    start_member(1)
    time.sleep(10)
    start_member(2)
    start_member(3)
    move_log(wait_until_healthy())
    threading.Thread(target=write_rows, daemon=True).start()
    new = not os.path.exists(OUT)
    with open(OUT, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
        for _ in range(TRIALS):
            trial(writer, file)
    over.set()
    wait_until_healthy()
    for member in MEMBERS:
        running[member].terminate()
    for member in MEMBERS:
        running[member].wait()
    for process in running.values():
        process.terminate()


if __name__ == "__main__":
    main()
