"""Times the steps in which Patroni starts PostgreSQL again, with Patroni's own code, without a DCS.

usage: restart.py FOLDER TRIALS OUT.csv   (as the owner of FOLDER; needs patroni==4.1.5, psycopg)

One trial: a client inserts a row each 50 ms for a second or two; then the server ends, either by SIGKILL of the
postmaster (`crash`) or by a fast stop (`stop`); then what Patroni does once its HA loop has found it dead:
`pg_controldata`, configuration files, a fresh interpreter that forks the postmaster. Then the server is made a
standby of nobody and promoted (`promote`).
"""
import csv, os, random, re, subprocess, sys, time
from datetime import datetime

# The script that pip makes for `patroni` imports this, and the fresh interpreter imports the main script again.
from patroni.__main__ import main as _main  # noqa: F401
from patroni.postgresql import Postgresql
from patroni.postgresql.mpp import get_mpp

BIN = "/usr/lib/postgresql/15/bin"


def main():
    import psycopg
    folder, trials, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    data, log = folder + "/data", folder + "/log"
    if not os.path.exists(data):
        subprocess.check_call([BIN + "/initdb", "-k", "-U", "postgres", "-D", data], stdout=subprocess.DEVNULL)
    config = {
        "name": "one", "scope": "one", "listen": "127.0.0.1:55432", "connect_address": "127.0.0.1:55432",
        "data_dir": data, "bin_dir": BIN, "retry_timeout": 10, "ttl": 30, "loop_wait": 10, "use_unix_socket": False,
        "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "postgres"}},
        "pg_hba": ["host all all 127.0.0.1/32 trust", "local all all trust"],
        "parameters": {"shared_buffers": "32MB", "logging_collector": "off", "log_line_prefix": "%m [%p] ",
                       "log_destination": "stderr", "unix_socket_directories": folder, "wal_level": "replica",
                       "hot_standby": "on", "max_wal_senders": 10, "max_replication_slots": 10},
    }
    handle = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(handle, 2)
    pg = Postgresql(config, get_mpp(config))
    if not os.path.exists(data + "/postgresql.base.conf"):
        os.rename(data + "/postgresql.conf", data + "/postgresql.base.conf")
    dsn = "host=127.0.0.1 port=55432 user=postgres dbname=postgres"

    def stamp(pattern, since):
        for line in open(log):
            m = re.match(r"(\d+-\d+-\d+ \d+:\d+:\d+\.\d+) \S+ .*" + pattern, line)
            if m:
                at = datetime.strptime(m.group(1), "%Y-%m-%d %H:%M:%S.%f").timestamp()
                if at >= since - 0.001:
                    return at
        return None

    def start(role):
        t0 = time.time()
        pg.controldata()
        assert pg.start(300, role=role)
        return t0

    pg.start(300, role="primary")
    with psycopg.connect(dsn, autocommit=True) as c:
        c.execute("create table if not exists t(v bigint)")
    new = not os.path.exists(out)
    f = open(out, "a")
    w = csv.writer(f)
    if new:
        w.writerow(["utc", "kind", "spawn", "start", "load1"])
    for trial in range(trials):
        kind = "crash" if trial % 3 else "stop"
        with psycopg.connect(dsn, autocommit=True) as c:
            until = time.time() + 1 + random.random() * 3
            while time.time() < until:
                c.execute("insert into t values (1)")
                time.sleep(0.05)
            if kind == "crash":
                os.kill(pg.is_running().pid, 9)
                killed = time.time()
                # The killed postmaster stays a zombie, which counts as running, until init has reaped it.
                while pg.is_running():
                    time.sleep(0.02)
                reaped = time.time() - killed
                time.sleep(random.uniform(0.5, 2))
        if kind == "stop":
            pg.stop("fast")
        t0 = start("primary")
        begun = ready = None
        while ready is None:
            time.sleep(0.05)
            begun = stamp("LOG:  starting PostgreSQL", t0)
            ready = stamp("LOG:  database system is ready to accept conn", t0)
        if kind == "crash":
            print(f"reaped after {reaped:.2f}", flush=True)
        utc = datetime.utcfromtimestamp(t0).isoformat(timespec="milliseconds") + "Z"
        w.writerow([utc, kind, f"{begun - t0:.3f}", f"{ready - begun:.3f}", f"{os.getloadavg()[0]:.2f}"])
        f.flush()
        if trial % 2 == 0:
            pg.stop("fast")
            open(data + "/standby.signal", "w").close()
            subprocess.check_call([BIN + "/pg_ctl", "-D", data, "-w", "-l", log, "start"], stdout=subprocess.DEVNULL)
            time.sleep(1)
            t0 = time.time()
            subprocess.check_call([BIN + "/pg_ctl", "promote", "-W", "-D", data], stdout=subprocess.DEVNULL)
            sent = time.time()
            while stamp("LOG:  archive recovery complete", t0) is None:
                time.sleep(0.05)
            received = stamp("LOG:  received promote request", t0)
            done = stamp("LOG:  archive recovery complete", t0)
            w.writerow([datetime.utcfromtimestamp(t0).isoformat(timespec="milliseconds") + "Z", "promote",
                        f"{received - t0:.3f}", f"{done - received:.3f}", f"{os.getloadavg()[0]:.2f}"])
            f.flush()
            time.sleep(0.3)
    pg.stop("fast")


if __name__ == "__main__":
    main()
