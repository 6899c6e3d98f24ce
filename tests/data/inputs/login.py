"""Logins at several PostgreSQL servers at once, as rows of `login.csv`.

python login.py ROUNDS URI... > login.csv

Servers and this at the priority of the measured programs (nice -10).
"""

import csv
import os
import sys
import threading
import time

import psycopg2


def log_in(uri):
    start = time.monotonic()
    session = psycopg2.connect(uri, connect_timeout=2)
    session.autocommit = True
    cursor = session.cursor()
    cursor.execute("SELECT pg_is_in_recovery()")
    cursor.fetchone()
    return time.monotonic() - start, session


def main():
    rounds, *servers = sys.argv[1:]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["seconds", "load1"])
    for _ in range(int(rounds)):
        logins = [None] * len(servers)

        def log_in_at(place):
            logins[place] = log_in(servers[place])

        threads = [threading.Thread(target=log_in_at, args=(place,)) for place in range(len(servers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for took, session in logins:
            out.writerow([f"{took:.6f}", f"{os.getloadavg()[0]:.2f}"])
            session.close()
        time.sleep(0.1)


main()
