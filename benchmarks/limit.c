/* The limit: what this machine's disk and SQLite allow, with nothing else in the way.
 *
 * One thread, epoll, one Unix socket. Everything that arrived in one turn is stored in one
 * transaction (WAL, synchronous=FULL), and only then each frame is answered by one line. That is
 * the agent's own promise ("acknowledged means on this disk") without consent, parsing, sessions,
 * ledger or ids, in C. The agent's figures are printed as a ratio to this program's.
 *
 *     limit SOCKET DATABASE [event|frame]
 *
 * event   one row per event: braces are counted to find where an event ends (default)
 * frame   one row per line, the least that storing a batch can cost
 *
 * Ends on SIGTERM. Prints "ready" when it listens.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 1024, READ_BYTES = 1 << 18 };

struct connection {
    int fd;
    char *buffer;      /* bytes of a line that has not ended yet */
    size_t used, room;
    unsigned owed;     /* answers to send after the commit */
};

static struct connection connections[MAX_CONNECTIONS];
static sqlite3 *database;
static sqlite3_stmt *insert;
static int row_per_event = 1;
static volatile sig_atomic_t stopping;
static const char ANSWER[] = "{\"reportedIds\":[]}\n";

static void stop(int signal_number) { (void)signal_number; stopping = 1; }

static void die(const char *what) {
    fprintf(stderr, "limit: %s: %s\n", what,
            errno ? strerror(errno) : database ? sqlite3_errmsg(database) : "");
    exit(1);
}

static void run(const char *sql) {
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK) { errno = 0; die(sql); }
}

static void store(const char *bytes, size_t length) {
    sqlite3_bind_blob(insert, 1, bytes, (int)length, SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) { errno = 0; die("insert"); }
    sqlite3_reset(insert);
}

/* Store each object at depth two of {"appId":…,"data":[{…},{…}]}. */
static void store_events(const char *line, size_t length) {
    const char *from = NULL, *end = line + length;
    int depth = 0;
    for (const char *at = line; at < end; at++) {
        switch (*at) {
        case '"':
            do {
                at = memchr(at + 1, '"', (size_t)(end - at - 1));
            } while (at && at[-1] == '\\'); /* our load has no text that ends in a backslash */
            if (!at) return;
            break;
        case '{':
            if (++depth == 2) from = at;
            break;
        case '}':
            if (depth-- == 2) store(from, (size_t)(at - from + 1));
            break;
        default:
            break;
        }
    }
}

static void forget(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    c->used = 0;
    c->owed = 0;
}

/* Read what is there and store every whole line; returns 0 when the peer has gone. */
static int take(struct connection *c, int *in_transaction) {
    if (c->room - c->used < READ_BYTES) {
        c->room = c->used + 2 * READ_BYTES;
        c->buffer = realloc(c->buffer, c->room);
        if (!c->buffer) die("memory");
    }
    ssize_t got = read(c->fd, c->buffer + c->used, c->room - c->used);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
    if (got <= 0) return 0;
    size_t searched = c->used, begin = 0;
    c->used += (size_t)got;
    char *newline;
    while ((newline = memchr(c->buffer + searched, '\n', c->used - searched))) {
        size_t after = (size_t)(newline - c->buffer) + 1;
        if (!*in_transaction) { run("BEGIN IMMEDIATE"); *in_transaction = 1; }
        if (row_per_event) store_events(c->buffer + begin, after - begin - 1);
        else store(c->buffer + begin, after - begin - 1);
        c->owed++;
        begin = searched = after;
    }
    memmove(c->buffer, c->buffer + begin, c->used - begin);
    c->used -= begin;
    return 1;
}

static void answer(struct connection *c) {
    static char lines[sizeof ANSWER * 4096];
    while (c->owed) {
        size_t count = c->owed < 4096 ? c->owed : 4096, length = count * (sizeof ANSWER - 1);
        for (size_t n = 0; n < count; n++)
            memcpy(lines + n * (sizeof ANSWER - 1), ANSWER, sizeof ANSWER - 1);
        size_t sent = 0;
        while (sent < length) { /* answers are small; a socket that is full is waited for */
            ssize_t put = send(c->fd, lines + sent, length - sent, MSG_NOSIGNAL);
            if (put < 0 && errno == EAGAIN) { usleep(50); continue; }
            if (put < 0) { forget(c); return; }
            sent += (size_t)put;
        }
        c->owed -= (unsigned)count;
    }
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) die("the socket's path is too long");
    strcpy(address.sun_path, path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 128)) die(path);
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 3) { fprintf(stderr, "usage: limit SOCKET DATABASE [event|frame]\n"); return 64; }
    row_per_event = argc < 4 || strcmp(argv[3], "frame") != 0;
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    if (sqlite3_open(argv[2], &database) != SQLITE_OK) die(argv[2]);
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=FULL");
    run("CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)");
    if (sqlite3_prepare_v2(database, "INSERT INTO event (body) VALUES (?1)", -1, &insert, NULL))
        die("prepare");

    int listener = listen_at(argv[1]), poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    for (int n = 0; n < MAX_CONNECTIONS; n++) connections[n].fd = -1;
    puts("ready");
    fflush(stdout);

    while (!stopping) {
        int count = epoll_wait(poll_fd, ready, 256, -1), in_transaction = 0;
        for (int n = 0; n < count; n++) {
            struct connection *c = ready[n].data.ptr;
            if (c) {
                if (!take(c, &in_transaction)) forget(c);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) continue;
            for (c = connections; c < connections + MAX_CONNECTIONS && c->fd >= 0; c++) {}
            if (c == connections + MAX_CONNECTIONS) { close(fd); continue; }
            c->fd = fd;
            event.data.ptr = c;
            epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
        }
        if (in_transaction) run("COMMIT");
        for (int n = 0; n < count; n++)
            if (ready[n].data.ptr) answer(ready[n].data.ptr);
    }
    sqlite3_finalize(insert);
    sqlite3_close(database);
    return 0;
}
