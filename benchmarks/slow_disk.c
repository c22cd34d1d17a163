/* A disk whose every fsync takes longer: LD_PRELOAD this, and name the delay in SLOW_DISK_US.
 *
 * What a slower disk costs is decided by how many events share one fsync; this shows it on any
 * machine. The delay comes on top of the real call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_for_the_platter(void) {
    const char *delay = getenv("SLOW_DISK_US");
    if (delay) usleep((useconds_t)atoi(delay));
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_for_the_platter();
    return real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_the_platter();
    return real(fd);
}
