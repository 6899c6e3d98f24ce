"""Sorts the syncs that sync.c has timed by what was synced:

    python sync.py SYNCS.csv OUT.csv

Folders are those of ../measured/sentinel.py and ../measured/cluster.py. A replica syncs what its primary has sent before it loads it (`temp-*.rdb`, and the folder);
those rows are left out.
"""

import csv
import os
import sys


def step(path, before):
    """`before` is what was synced in the same folder before."""
    folder, _, name = path.rpartition("/")
    if name.startswith("temp-") or before.startswith("temp-") and "." not in name:
        return None
    if name == "nodes.conf":
        return name
    owner = "sentinel" if "sentinel" in path else "server"
    if name.startswith("redis.conf."):
        return f"{owner}: new file"
    return f"{owner}: {'file again' if name == 'redis.conf' else 'folder'}"


def main():
    rows = csv.reader(open(sys.argv[1]))
    newest = {}
    with open(sys.argv[2], "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["step", "seconds", "load1"])
        for _, path, seconds, load in rows:
            is_file = "." in os.path.basename(path)
            folder = os.path.dirname(path) if is_file else path
            found = step(path, newest.get(folder, ""))
            newest[folder] = os.path.basename(path)
            if found:
                out.writerow([found, seconds, load])


main()
