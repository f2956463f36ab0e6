/* A load client: client PORT v1|sse STREAMS ROUNDS RAMP_MS CHUNKS. Prints one line of JSON.
 *
 * Opens STREAMS connections within RAMP_MS, asks ROUNDS questions on each, one after the other, and reads every reply
 * to its end. Times in microseconds. `late`: from the upstream's write of a chunk to its arrival here. */
#include "wire.h"

#define FILES 65536
struct stream {
  char out[1024];
  int size, sent, asked, connected;
  int64_t at, first; /* when the question went out, when its first chunk came */
  int state;         /* of the chunked body: 0 head, 1 size line, 2 data, 3 line end after data */
  char line[64];
  int have;
  long left;
  char head[4]; /* the last four bytes of the head */
  int in_token, last;
  char token[48];
};
static struct stream *streams[FILES];
static int open_streams, rounds, chunks_wanted, poll_fd, port;
static long complete, tokens, wrong, failed;
static int *first_us, *late_us;
static long firsts, lates, most;

static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static int part(int *values, long n, double share) { return n ? values[(long)((n - 1) * share)] : -1; }

static void ask(int fd) {
  struct stream *s = streams[fd];
  s->sent = s->state = s->have = s->last = s->in_token = 0;
  s->first = 0;
  memset(s->head, 0, 4);
  s->at = now_us();
  ssize_t sent = send(fd, s->out, s->size, MSG_NOSIGNAL);
  s->sent = sent > 0 ? sent : 0;
  if (s->sent < s->size) failed++;
}

static void token(struct stream *s, int64_t now) {
  s->token[s->in_token] = 0;
  char *colon = strchr(s->token, ':');
  int n = atoi(s->token);
  if (!colon || n != s->last + 1) wrong++;
  s->last = n;
  tokens++;
  if (!s->first && firsts < most) first_us[firsts++] = (s->first = now) - s->at;
  if (colon && lates < most) late_us[lates++] = now - atoll(colon + 1);
}

/* One byte of the body's text. */
static void text(struct stream *s, char c, int64_t now) {
  if (c == '<') s->in_token = 1;
  else if (s->in_token && c == '>') s->in_token--, token(s, now), s->in_token = 0;
  else if (s->in_token && s->in_token < 40) s->token[s->in_token - 1] = c, s->in_token++;
}

/* 1 when the reply has ended. */
static int byte(struct stream *s, char c, int64_t now) {
  switch (s->state) {
  case 0:
    memmove(s->head, s->head + 1, 3);
    s->head[3] = c;
    if (s->have < 16) s->line[s->have++] = c;
    if (!memcmp(s->head, "\r\n\r\n", 4)) {
      if (memcmp(s->line + 9, "200", 3)) failed++, s->last = -1;
      s->state = 1, s->have = 0;
    }
    return 0;
  case 1:
    if (c != '\n') {
      if (s->have < 60) s->line[s->have++] = c;
      return 0;
    }
    s->line[s->have] = 0, s->have = 0;
    s->left = strtol(s->line, NULL, 16);
    s->state = s->left ? 2 : 4;
    return 0;
  case 2:
    text(s, c, now);
    if (--s->left == 0) s->state = 3;
    return 0;
  case 3:
    if (c == '\n') s->state = 1;
    return 0;
  default:
    return c == '\n';
  }
}

static void gone(int fd) {
  free(streams[fd]);
  streams[fd] = NULL;
  close(fd);
  open_streams--;
}

static void readable(int fd) {
  static char data[262144];
  struct stream *s = streams[fd];
  ssize_t got = recv(fd, data, sizeof data, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    failed++;
    gone(fd);
    return;
  }
  int64_t now = now_us();
  for (ssize_t i = 0; i < got; i++)
    if (byte(s, data[i], now)) {
      if (s->last == chunks_wanted) complete++;
      else wrong++;
      if (++s->asked >= rounds) {
        gone(fd);
        return;
      }
      ask(fd);
    }
}

static int begin(const char *path) {
  static const char V1[] = "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
  static const char SSE[] = "{\"question\":\"hi\",\"database\":\"none\"}";
  const char *body = strcmp(path, "v1") ? SSE : V1, *target = strcmp(path, "v1") ? "/getAnwser" : "/v1/chat/completions";
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = local(port);
  if (fd < 0) return -1;
  no_delay(fd);
  connect(fd, (void *)&address, sizeof address);
  struct stream *s = streams[fd] = calloc(1, sizeof *s);
  s->size = snprintf(s->out, sizeof s->out,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                     "\r\n%s", target, port, strlen(body), body);
  struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
  open_streams++;
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  port = atoi(argv[1]);
  int wanted = atoi(argv[3]), ramp_ms = atoi(argv[5]), begun = 0;
  rounds = atoi(argv[4]), chunks_wanted = atoi(argv[6]);
  most = (long)wanted * rounds * (chunks_wanted + 1);
  first_us = malloc(most * sizeof(int)), late_us = malloc(most * sizeof(int));
  many_files();
  poll_fd = epoll_create1(0);
  int64_t start = now_us(), deadline = start + 300 * 1000000LL;
  struct epoll_event events[512];
  while (begun < wanted || open_streams > 0) {
    int64_t now = now_us();
    if (now > deadline) break;
    while (begun < wanted && (!ramp_ms || now - start >= (int64_t)begun * ramp_ms * 1000 / wanted)) {
      if (begin(argv[2])) return perror("socket"), 1;
      begun++;
    }
    int found = epoll_wait(poll_fd, events, 512, begun < wanted ? 1 : 1000);
    for (int i = 0; i < found; i++) {
      int fd = events[i].data.fd;
      if (!streams[fd]) continue;
      if (!streams[fd]->connected) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        streams[fd]->connected = 1;
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &event);
        ask(fd);
      } else {
        readable(fd);
      }
    }
  }
  double seconds = (now_us() - start) / 1e6;
  qsort(first_us, firsts, sizeof(int), order);
  qsort(late_us, lates, sizeof(int), order);
  printf("{\"complete\":%ld,\"tokens\":%ld,\"wrong\":%ld,\"failed\":%ld,\"seconds\":%.3f,\"first_p50\":%d,\"first_p99\":%d,"
         "\"late_p50\":%d,\"late_p99\":%d}\n",
         complete, tokens, wrong, failed + open_streams, seconds, part(first_us, firsts, .5), part(first_us, firsts, .99),
         part(late_us, lates, .5), part(late_us, lates, .99));
  return 0;
}
