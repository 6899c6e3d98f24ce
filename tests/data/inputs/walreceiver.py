"""How long a walreceiver takes to start, from the logs of members of Patroni (`FOLDER/n1.log` and so on, as `failover.py` leaves them):

    python3 walreceiver.py FAILOVERS.csv FOLDER [FOLDER ...] > walreceiver.csv

FAILOVERS.csv tells the load: that of the failover next to each start in time.
"""

import csv
import datetime
import glob
import re
import sys

LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC \[\d+\] (.*)")
# A start that takes longer was for something else that the log does not tell apart.
LONGEST = 1.0


def seconds(text, pattern):
    moment = datetime.datetime.strptime(text, pattern)
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


def starts(path):
    """(when it was asked for, until what, seconds)"""
    ended = changed = None
    with open(path, errors="replace") as log:
        for line in log:
            found = LINE.match(line)
            if not found:
                continue
            at, text = seconds(found[1], "%Y-%m-%d %H:%M:%S.%f"), found[2]
            if "invalid record length" in text:
                ended = at
            elif 'parameter "primary_conninfo" changed' in text:
                changed = at
            elif "could not connect to the primary" in text:
                if ended is not None:
                    yield ended, "refused", at - ended
                ended = changed = None
            elif "started streaming" in text:
                if changed is not None:
                    yield changed, "streaming", at - changed
                ended = changed = None


def main():
    with open(sys.argv[1]) as file:
        loads = [(seconds(row["utc"], "%Y-%m-%dT%H:%M:%S.%fZ"), row["load1"]) for row in csv.DictReader(file)]
    rows = set()
    for folder in sys.argv[2:]:
        for path in glob.glob(f"{folder}/n?.log"):
            rows.update((at, kind, round(took, 3)) for at, kind, took in starts(path) if took < LONGEST)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["utc", "until", "seconds", "load1"])
    for at, kind, took in sorted(rows):
        _, load = min(loads, key=lambda other: abs(other[0] - at))
        utc = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="milliseconds")
        writer.writerow([utc.replace("+00:00", "Z"), kind, f"{took:.3f}", load])


if __name__ == "__main__":
    main()
