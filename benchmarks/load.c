/* A closed-loop load: as many events as are acknowledged, and how long each acknowledgement took.
 *
 * One thread, epoll, no allocation while it measures. Each of C connections keeps W requests of B
 * events in flight; a request is counted when its answer has come and holds no "error". An event is
 * 250 bytes of JSON (EVENT_BYTES), and no two are alike: each carries its own number.
 *
 *     load (--socket PATH | --tcp PORT) [--mode line|http|ws] [--app ID] [--producers C]
 *          [--batch B] [--window W] [--seconds S] [--warm-up S] [--total EVENTS] [--ids]
 *          [--device ID | --devices] [--every S [--heartbeats]] [--announce]
 *
 * --ids     each event brings its own id, so that the agent has to look for repeats
 * --device  each event names a device, as a far end wants it (an agent adds its own)
 * --devices each connection is a device of its own
 * --total   stop after so many events instead of after a time
 * --every   not a closed loop: each connection sends one request every S seconds, evenly spread
 * --heartbeats  what it sends then is a heartbeat, which counts as one event
 * --announce    print {"connected":C} when all connections are open, and begin then
 *
 * Prints one JSON object: events_per_s, p50_us, p99_us, max_us, acknowledged, errors, cpu_us_per_event
 * (this program's own), seconds. Exits 1 if nothing was acknowledged.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum mode { LINE, HTTP, WS };
enum { EVENT_BYTES = 250, MAX_CONNECTIONS = 20000, DIGITS = 12 };

struct request {
    char *bytes;
    size_t length;
    size_t *numbers; /* where each event's number stands, once or (with --ids) twice */
    uint64_t began_ns;
};

struct connection {
    int fd;
    struct request *slots; /* a ring of W requests, answered in order */
    unsigned next, in_flight, due; /* due: how many requests it may begin (--every) */
    size_t written;        /* of the newest request; its length when it is out */
    size_t writing;        /* length of the newest request, 0 when nothing is half written */
    char *buffer;
    size_t used;
    char pong[6 + 125]; /* owed to the server, which looks whether we still live */
    size_t pong_length;
};

static const char *app = "bench", *device;
static enum mode mode = LINE;
static unsigned producers = 1, batch = 1, window = 1, with_ids, own_devices, heartbeats, announce;
static double seconds = 2, warm_up = 0.5, every;
static size_t read_bytes = 1 << 20;
static uint64_t total, number, sent_events;
static struct connection connections[MAX_CONNECTIONS];
static uint32_t *latencies_us;
static size_t latency_count, latency_room;
static uint64_t acknowledged, errors, measured_events;
static char last_error[256];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Build one request of `batch` events; numbers are filled in when it is sent. */
static void build(struct request *r, const char *device) {
    char *body = malloc((size_t)batch * (EVENT_BYTES + 1) + 256);
    size_t *numbers = malloc(sizeof *numbers * batch * 2), at = 0, found = 0;
    if (!body || !numbers) die("memory");
    at += (size_t)sprintf(body, "{\"appId\":\"%s\",\"data\":[", app);
    if (heartbeats)
        at += (size_t)sprintf(body + at, "{\"type\":\"heartbeat\",\"sessionId\":12345678,"
                                         "\"deviceId\":\"%.40s\"}", device ? device : "load");
    for (unsigned n = 0; n < batch && !heartbeats; n++) {
        size_t from = at;
        if (n) body[at++] = ',';
        from = at;
        at += (size_t)sprintf(body + at, "{");
        if (with_ids) {
            at += (size_t)sprintf(body + at, "\"id\":\"load-");
            numbers[found++] = at;
            at += (size_t)sprintf(body + at, "%0*d\",", DIGITS, 0);
        }
        if (device) at += (size_t)sprintf(body + at, "\"deviceId\":\"%.40s\",", device);
        at += (size_t)sprintf(body + at, "\"name\":\"build.finished\",\"payload\":{\"number\":\"");
        numbers[found++] = at;
        at += (size_t)sprintf(body + at, "%0*d\",\"seconds\":12.5,\"ok\":true,\"text\":\"", DIGITS, 0);
        size_t room = EVENT_BYTES - (at - from) - 3;
        memset(body + at, 'x', room);
        at += room;
        at += (size_t)sprintf(body + at, "\"}}");
    }
    at += (size_t)sprintf(body + at, "]}");

    char *whole = malloc(at + 512);
    size_t head = 0;
    if (!whole) die("memory");
    if (mode == HTTP) {
        head = (size_t)sprintf(whole,
                               "POST /app/%s/track HTTP/1.1\r\nHost: localhost\r\n"
                               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                               app, at);
    } else if (mode == WS) {
        /* A mask of zeros is a mask: the server works as hard, and we may write into the frame. */
        unsigned char *h = (unsigned char *)whole;
        h[head++] = 0x81;
        if (at < 126) {
            h[head++] = (unsigned char)(0x80 | at);
        } else if (at < 65536) {
            h[head++] = 0x80 | 126;
            h[head++] = (unsigned char)(at >> 8);
            h[head++] = (unsigned char)at;
        } else {
            h[head++] = 0x80 | 127;
            for (int shift = 56; shift >= 0; shift -= 8) h[head++] = (unsigned char)(at >> shift);
        }
        memset(whole + head, 0, 4);
        head += 4;
    }
    memcpy(whole + head, body, at);
    free(body);
    for (size_t n = 0; n < found; n++) numbers[n] += head;
    if (mode == LINE) whole[head + at++] = '\n';
    r->bytes = whole;
    r->length = head + at;
    r->numbers = numbers;
}

static void put_number(char *at, uint64_t value) {
    for (int n = DIGITS - 1; n >= 0; n--, value /= 10) at[n] = (char)('0' + value % 10);
}

static void shake_hands(int fd) {
    char text[4096];
    int length = sprintf(text,
                         "GET /app/%s/track HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                         app);
    if (write(fd, text, (size_t)length) != length) die("handshake");
    size_t used = 0;
    while (!memmem(text, used, "\r\n\r\n", 4)) {
        ssize_t got = read(fd, text + used, 1); /* one by one: no frame may be swallowed */
        if (got <= 0 || ++used == sizeof text) die("handshake");
    }
    if (!memmem(text, used, " 101 ", 5)) { fprintf(stderr, "load: %.*s\n", (int)used, text); exit(1); }
}

static int dial(const char *path, int port) {
    int fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (path && strlen(path) < sizeof local.sun_path) strcpy(local.sun_path, path);
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int failed = path ? connect(fd, (struct sockaddr *)&local, sizeof local)
                      : connect(fd, (struct sockaddr *)&loopback, sizeof loopback);
    if (fd < 0 || failed) die(path ? path : "connect");
    if (!path) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (mode == WS) shake_hands(fd);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Keep the window full: write until the socket or the window is. */
static void push(struct connection *c, int may_begin) {
    for (;;) {
        if (!c->writing) {
            if (c->pong_length) {
                ssize_t put = send(c->fd, c->pong, c->pong_length, MSG_NOSIGNAL);
                if (put < 0 && errno == EAGAIN) return;
                if (put != (ssize_t)c->pong_length) die("pong");
                c->pong_length = 0;
            }
            if (!may_begin || c->in_flight == window || (total && sent_events >= total)) return;
            if (every > 0 && !c->due) return;
            if (every > 0) c->due--;
            struct request *r = &c->slots[c->next++ % window];
            for (unsigned n = 0, at = 0; n < batch && !heartbeats; n++, number++)
                for (unsigned twice = 0; twice <= with_ids; twice++)
                    put_number(r->bytes + r->numbers[at++], number);
            r->began_ns = now_ns();
            c->in_flight++;
            sent_events += batch;
            c->written = 0;
            c->writing = r->length;
        }
        struct request *r = &c->slots[(c->next - 1) % window];
        ssize_t put = send(c->fd, r->bytes + c->written, c->writing - c->written, MSG_NOSIGNAL);
        if (put < 0 && errno == EAGAIN) return;
        if (put < 0) die("send");
        c->written += (size_t)put;
        if (c->written < c->writing) return;
        c->writing = 0;
    }
}

static void settle(struct connection *c, const char *text, size_t length, int measuring) {
    struct request *r = &c->slots[(c->next - c->in_flight) % window];
    c->in_flight--;
    if (memmem(text, length, "\"error\"", 7) || (mode == HTTP && memcmp(text + 9, "200", 3))) {
        errors++;
        snprintf(last_error, sizeof last_error, "%.*s", (int)length, text);
        return;
    }
    acknowledged += batch;
    if (!measuring) return;
    measured_events += batch;
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 20;
        latencies_us = realloc(latencies_us, latency_room * sizeof *latencies_us);
        if (!latencies_us) die("memory");
    }
    latencies_us[latency_count++] = (uint32_t)((now_ns() - r->began_ns) / 1000);
}

/* Length of the first whole answer in the buffer, 0 if it has not all come. */
static size_t answer_length(const char *text, size_t used) {
    if (mode == LINE) {
        const char *end = memchr(text, '\n', used);
        return end ? (size_t)(end - text) + 1 : 0;
    }
    if (mode == HTTP) {
        const char *end = memmem(text, used, "\r\n\r\n", 4);
        if (!end) return 0;
        size_t head = (size_t)(end - text) + 4, body = 0;
        for (const char *line = text; line < end; line = strchr(line, '\n') + 1)
            if (!strncasecmp(line, "content-length:", 15)) body = strtoul(line + 15, NULL, 10);
        return used >= head + body ? head + body : 0;
    }
    const unsigned char *h = (const unsigned char *)text;
    size_t head = 2, body = used > 1 ? h[1] & 0x7fu : 0;
    if (used < 2) return 0;
    if (body == 126) {
        if (used < 4) return 0;
        head = 4;
        body = (size_t)h[2] << 8 | h[3];
    } else if (body == 127) {
        if (used < 10) return 0;
        head = 10;
        body = 0;
        for (int n = 2; n < 10; n++) body = body << 8 | h[n];
    }
    return used >= head + body ? head + body : 0;
}

/* Take what has come; returns 0 when there may be more (the poll is edge-triggered). */
static int pull(struct connection *c, int measuring) {
    size_t room = read_bytes - c->used - 1;
    ssize_t got = read(c->fd, c->buffer + c->used, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
    if (got <= 0) { fprintf(stderr, "load: the server hung up; %s\n", last_error); exit(1); }
    c->used += (size_t)got;
    c->buffer[c->used] = 0;
    size_t begin = 0, length;
    while ((length = answer_length(c->buffer + begin, c->used - begin))) {
        unsigned kind = (unsigned char)c->buffer[begin] & 0x0f;
        if (mode != WS || kind < 8) {
            settle(c, c->buffer + begin, length, measuring);
        } else if (kind == 9 && length <= 127) { /* a ping; its length is in the second byte */
            c->pong[0] = (char)0x8a;
            c->pong[1] = (char)(0x80 | (length - 2));
            memset(c->pong + 2, 0, 4);
            memcpy(c->pong + 6, c->buffer + begin + 2, length - 2);
            c->pong_length = length + 4;
        }
        begin += length;
    }
    memmove(c->buffer, c->buffer + begin, c->used - begin);
    c->used -= begin;
    return (size_t)got < room;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(double share) {
    if (!latency_count) return 0;
    size_t at = (size_t)(share * (double)latency_count);
    return latencies_us[at < latency_count ? at : latency_count - 1];
}

int main(int argc, char **argv) {
    const char *path = NULL;
    int port = 0, option;
    static const struct option options[] = {
        {"socket", 1, 0, 's'}, {"tcp", 1, 0, 't'}, {"mode", 1, 0, 'm'}, {"app", 1, 0, 'a'},
        {"producers", 1, 0, 'p'}, {"batch", 1, 0, 'b'}, {"window", 1, 0, 'w'},
        {"seconds", 1, 0, 'd'}, {"warm-up", 1, 0, 'u'}, {"total", 1, 0, 'n'}, {"ids", 0, 0, 'i'},
        {"device", 1, 0, 'D'}, {"devices", 0, 0, 'o'}, {"every", 1, 0, 'e'},
        {"heartbeats", 0, 0, 'H'}, {"announce", 0, 0, 'A'},
        {0, 0, 0, 0}};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': path = optarg; break;
        case 't': port = atoi(optarg); break;
        case 'm': mode = !strcmp(optarg, "http") ? HTTP : !strcmp(optarg, "ws") ? WS : LINE; break;
        case 'a': app = optarg; break;
        case 'p': producers = (unsigned)atoi(optarg); break;
        case 'b': batch = (unsigned)atoi(optarg); break;
        case 'w': window = (unsigned)atoi(optarg); break;
        case 'd': seconds = atof(optarg); break;
        case 'u': warm_up = atof(optarg); break;
        case 'n': total = strtoull(optarg, NULL, 10); break;
        case 'i': with_ids = 1; break;
        case 'D': device = optarg; break;
        case 'o': own_devices = 1; break;
        case 'e': every = atof(optarg); break;
        case 'H': heartbeats = 1; break;
        case 'A': announce = 1; break;
        default: return 64;
        }
    }
    if ((!path && !port) || !producers || producers > MAX_CONNECTIONS || !batch || !window) return 64;
    if (total) { warm_up = 0; seconds = 3600; }
    if (heartbeats) batch = 1;
    if (producers > 64) read_bytes = 1 << 15; /* answers to modest frames; memory is shared here */
    number = now_ns() % 1000000 * 1000000; /* two runs against one agent do not repeat ids */

    int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event, ready[256];
    for (unsigned n = 0; n < producers; n++) {
        struct connection *c = &connections[n];
        c->fd = dial(path, port);
        c->slots = calloc(window, sizeof *c->slots);
        c->buffer = malloc(read_bytes);
        if (!c->slots || !c->buffer) die("memory");
        char own[32];
        sprintf(own, "load-device-%u", n);
        for (unsigned w = 0; w < window; w++) build(&c->slots[w], own_devices ? own : device);
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.ptr = c;
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
        if (n % 64 == 63) { /* those that are open already are asked whether they live */
            int count = epoll_wait(poll_fd, ready, 256, 0);
            for (int k = 0; k < count; k++) {
                struct connection *open = ready[k].data.ptr;
                if (ready[k].events & (EPOLLIN | EPOLLHUP))
                    while (!pull(open, 0)) {}
                push(open, 0);
            }
        }
    }

    if (announce) { printf("{\"connected\":%u}\n", producers); fflush(stdout); }

    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    uint64_t began = now_ns(), from = began + (uint64_t)(warm_up * 1e9),
             until = from + (uint64_t)(seconds * 1e9), ended = 0, give_up = 0, begun = 0;
    for (unsigned n = 0; n < producers; n++) push(&connections[n], 1); /* edges may be past */
    for (;;) {
        int count = epoll_wait(poll_fd, ready, 256, every > 0 ? 5 : 100);
        uint64_t now = now_ns();
        if (every > 0 && now < until) {
            uint64_t owed = (uint64_t)((double)(now - began) / 1e9 / every * producers);
            for (; begun < owed; begun++) {
                struct connection *c = &connections[begun % producers];
                c->due++;
                push(c, 1);
            }
        }
        int measuring = now >= from && now < until;
        unsigned in_flight = 0;
        for (int n = 0; n < count; n++) {
            struct connection *c = ready[n].data.ptr;
            if (ready[n].events & (EPOLLIN | EPOLLHUP))
                while (!pull(c, measuring)) {}
            push(c, now < until);
        }
        if (now >= until || (total && sent_events >= total)) {
            for (unsigned n = 0; n < producers; n++) in_flight += connections[n].in_flight;
            if (!ended) { ended = total ? 0 : until; give_up = now + 30000000000u; }
            if (!in_flight || now > give_up) break;
        }
    }
    if (!ended) ended = now_ns();
    getrusage(RUSAGE_SELF, &after);
    double lasted = (double)(ended - from) / 1e9;
    double cpu_us = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec +
                             after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1e6 +
                    (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                             after.ru_stime.tv_usec - before.ru_stime.tv_usec);
    qsort(latencies_us, latency_count, sizeof *latencies_us, by_size);
    for (char *at = last_error; *at; at++)
        if (*at == '"' || *at == '\\' || *at < ' ') *at = ' ';
    printf("{\"events_per_s\":%.1f,\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u,\"acknowledged\":%llu,"
           "\"errors\":%llu,\"last_error\":\"%s\",\"cpu_us_per_event\":%.3f,\"seconds\":%.3f}\n",
           (double)measured_events / lasted, percentile(0.5), percentile(0.99), percentile(1.0),
           (unsigned long long)acknowledged, (unsigned long long)errors, last_error,
           acknowledged ? cpu_us / (double)acknowledged : 0.0, lasted);
    return acknowledged ? 0 : 1;
}
