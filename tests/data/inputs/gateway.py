"""Times serializable ranges of a member of etcd through its HTTP/JSON gateway, on one connection.

usage: gateway.py PORT COUNT OUT.csv
"""
import csv, http.client, json, os, socket, sys, time
from datetime import datetime

PORT, COUNT, OUT = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
body = json.dumps({"key": "L3NlcnZpY2UvYy8=", "range_end": "L3NlcnZpY2UvYzA=", "serializable": True})
link = http.client.HTTPConnection("127.0.0.1", PORT)
link.connect()
link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
with open(OUT, "a", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    if file.tell() == 0:
        writer.writerow(["utc", "seconds", "load1"])
    for _ in range(COUNT):
        begun = time.time()
        link.request("POST", "/v3/kv/range", body)
        link.getresponse().read()
        took = time.time() - begun
        utc = datetime.utcfromtimestamp(begun).isoformat(timespec="milliseconds") + "Z"
        writer.writerow([utc, f"{took:.6f}", f"{os.getloadavg()[0]:.2f}"])
        time.sleep(0.02)
