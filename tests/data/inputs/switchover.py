"""The steps of switchovers in the logs of three members of Patroni (`FOLDER/n1.log` and so on):

    python3 switchover.py FOLDER > switchover.csv

A POST to /switchover of the leader, without a candidate, begins each.
"""

import csv
import datetime
import re
import sys

LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.,](\d{3})")
FIELDS = ["utc", "cycle", "polled", "decided", "checkpoint", "stop", "down", "grace", "released", "promoted"]
# No switchover takes longer.
LONGEST = 8.0


def lines(path):
    with open(path, errors="replace") as log:
        for line in log:
            found = LINE.match(line)
            if found:
                moment = datetime.datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S")
                yield moment.replace(tzinfo=datetime.timezone.utc).timestamp() + int(found[2]) / 1000, line


def steps(own, others, begun):
    def of(log, pattern, since):
        return next(at for at, line in log if since <= at < begun + LONGEST and re.search(pattern, line))

    decided = of(own, "switchover: demoting myself", begun)
    answers = [at for at, line in own if begun <= at < decided and "Got response" in line]
    checkpoint = of(own, "checkpoint starting: .*force wait", decided)
    stop = of(own, "received fast shutdown", checkpoint)
    down = of(own, "database system is shut down", stop)
    promoted = min(of(log, "promoted self to leader", begun) for log in others if any(
        begun <= at < begun + LONGEST and "promoted self to leader" in line for at, line in log))
    return [of(own, "Lock owner", answers[0]), max(answers), decided, checkpoint, stop, down,
            of(own, "Got response", down), of(own, "Leader key released", down), promoted]


def main():
    logs = [list(lines(f"{sys.argv[1]}/n{member}.log")) for member in (1, 2, 3)]
    rows = []
    for own in logs:
        others = [log for log in logs if log is not own]
        for begun in (at for at, line in own if "received switchover request" in line):
            try:
                ends = steps(own, others, begun)
            except (StopIteration, ValueError):
                continue
            utc = datetime.datetime.fromtimestamp(begun, datetime.timezone.utc).isoformat(timespec="milliseconds")
            rows.append([utc.replace("+00:00", "Z")] + [f"{b - a:.3f}" for a, b in zip([begun, *ends], ends)])
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(sorted(rows))


if __name__ == "__main__":
    main()
