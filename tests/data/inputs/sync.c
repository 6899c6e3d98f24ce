/* Times the syncs of a program that is started with this:

    gcc -shared -fPIC -O2 -o sync.so sync.c -ldl
    LD_PRELOAD=$PWD/sync.so SYNCS=$PWD/syncs.csv PROGRAM ...

Appends a row for each: when it began (seconds since 1970), what was synced, how long that took in seconds, and the load average over a
minute. SYNCS has to be on another file system than what is synced. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int timed(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    double begun = now();
    int result = real(file);
    double end = now(), load = 0;
    const char *out = getenv("SYNCS");
    int rows = out ? open(out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (rows >= 0) {
        char link[64], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        getloadavg(&load, 1);
        dprintf(rows, "%.6f,%s,%.6f,%.1f\n", begun, path, end - begun, load);
        close(rows);
    }
    return result;
}

int fsync(int file) { return timed("fsync", file); }

int fdatasync(int file) { return timed("fdatasync", file); }
