"""How long Patroni asks for `archive_mode` and `archive_command` before it stops a server (4.1.5: `ha.py:demote`, `rewind.py:get_archive_command`):
two runs of `postgres -C`, one after the other, as rows of `archive.csv`.

python archive.py DATA_DIRECTORY ROUNDS > archive.csv

As the owner of the data directory, whose server may run, at the priority of the measured programs, nice -10.
"""

import csv
import os
import subprocess
import sys
import time

BIN = "/usr/lib/postgresql/15/bin/postgres"


def main():
    folder, rounds = sys.argv[1], int(sys.argv[2])
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["seconds", "load1"])
    for _ in range(rounds):
        time.sleep(0.5)
        start = time.monotonic()
        for name in ("archive_mode", "archive_command"):
            subprocess.check_output([BIN, "-D", folder, "-C", name, f"--config-file={folder}/postgresql.conf"])
        rows.writerow([f"{time.monotonic() - start:.4f}", f"{os.getloadavg()[0]:.2f}"])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
