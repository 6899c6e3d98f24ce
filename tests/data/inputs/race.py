"""Leader races as Patroni's own logs show them (level DEBUG), as rows of `race.csv`.

python race.py TRIALS LOG... > race.csv

TRIALS has two lines for each trial: `load` with /proc/loadavg, then the fault (`kill` or `stop`), the member and the time of day. Each LOG is that
of one member: format "%(asctime)s %(threadName)s %(levelname)s: %(message)s", level DEBUG.
"""

import csv
import sys
from datetime import datetime

LEADER_KEY = "L3NlcnZpY2UvYy9sZWFkZXI="  # /service/c/leader


def read(path):
    with open(path, errors="replace") as log:
        for line in log:
            try:
                yield datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f"), line.rstrip()
            except ValueError:
                continue


def trials(path):
    load = ""
    for line in open(path):
        words = line.split()
        if words[0] == "load":
            load = words[1]
        else:
            yield words[2], words[0], load
            load = ""


def seconds(start, end):
    return f"{(end - start).total_seconds():.3f}"


def race(lines):
    """The steps of the race that begins with the first line."""
    deleted = lines[0][0]

    def first(*words):
        return next((at for at, line in lines if all(word in line for word in words)), None)

    polled = [at for at, line in lines if "Got response from" in line or "Request failed to" in line]
    polled = [at for at in polled if (at - deleted).total_seconds() < 2.6]
    begun = first("Global Pool", "Starting new HTTP connection")
    kept = first("MainThread", "POST /v3/lease/keepalive")
    put = first("MainThread", "POST /v3/kv/txn")
    if begun and polled and kept and put:
        return [seconds(deleted, begun), seconds(begun, polled[-1]), seconds(polled[-1], kept), seconds(kept, put)]
    return None


def main(trial_file, *logs):
    faults = list(trials(trial_file))
    rows = []
    for path in logs:
        lines = list(read(path))
        for index, (at, line) in enumerate(lines):
            if f"{LEADER_KEY} changed from" in line and line.endswith("to None"):
                before = [trial for trial in faults if trial[0] < at.strftime("%H:%M:%S.%f")]
                steps = race(lines[index : index + 60])
                if before and steps:
                    rows.append([at.isoformat(timespec="milliseconds") + "Z", before[-1][1], *steps, before[-1][2]])
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["utc", "fault", "begin", "polls", "keep_alive", "put", "load1"])
    out.writerows(sorted(rows))


main(*sys.argv[1:])
