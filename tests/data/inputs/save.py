"""Times the three syncs by which a Redis Sentinel saves its configuration file, without Redis.

usage: save.py FOLDER SAVES OUT.csv

`rewriteConfigOverwriteFile` writes a temporary file of about 1.8 kB, syncs it, renames it and syncs the folder; `sentinelFlushConfig` opens
the file again and syncs it once more (Redis 7.0.15).
"""
import csv, os, sys, time


def main():
    folder, saves, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    # The measured programs ran at this priority.
    os.nice(-10)
    out = os.path.abspath(out)
    os.chdir(folder)
    body = b"x" * 1800
    with open(out, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["step", "seconds"])
        for _ in range(saves):
            start = time.perf_counter()
            new = os.open("sentinel.conf.tmp", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            os.write(new, body)
            os.fsync(new)
            written = time.perf_counter()
            os.rename("sentinel.conf.tmp", "sentinel.conf")
            os.close(new)
            here = os.open(".", os.O_RDONLY)
            os.fsync(here)
            os.close(here)
            renamed = time.perf_counter()
            again = os.open("sentinel.conf", os.O_RDONLY)
            os.fsync(again)
            os.close(again)
            end = time.perf_counter()
            for step, length in [("new file", written - start), ("folder", renamed - written), ("file again", end - renamed)]:
                rows.writerow([step, f"{length:.6f}"])
            time.sleep(0.055)


if __name__ == "__main__":
    main()
