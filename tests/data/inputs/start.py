"""Starts of redis-server, as rows of `start.csv`.

python start.py NAMESPACE ROUNDS > start.csv

As root: server and this run at the priority of the measured programs, nice -10, the server in a network namespace, where its loopback
interface is up.
"""

import csv
import ctypes
import os
import socket
import subprocess
import sys
import time

PORT = 46379


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["seconds", "load1"])
    os.nice(-10)
    namespace, rounds = sys.argv[1:]
    with open(f"/run/netns/{namespace}") as own:
        ctypes.CDLL(None).setns(own.fileno(), 0x40000000)
    command = ["ip", "netns", "exec", namespace, "redis-server", "--port", str(PORT), "--save", "", "--appendonly", "no", "--logfile", "/dev/null"]
    for _ in range(int(rounds)):
        begin = time.monotonic()
        server = subprocess.Popen(command)
        while True:
            try:
                socket.create_connection(("127.0.0.1", PORT)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.001)
        out.writerow([f"{time.monotonic() - begin:.6f}", f"{os.getloadavg()[0]:.2f}"])
        server.kill()
        server.wait()
        time.sleep(0.2)


main()
