/* An upstream that speaks vLLM's stream: upstream PORT CHUNKS EVERY_US. EVERY_US 0: all chunks at once.
 *
 * Chunk n of a reply is the text "<n:t>", t being the microsecond (monotonic) at which it was written: the client sees
 * from it what was lost, doubled or reordered, and how late each chunk came. */
#include "wire.h"

#define FILES 65536
#define FRAME "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"," \
  "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n"
static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

struct stream {
  char in[16384];
  int have, next; /* next: the chunk to write; 0: none */
  int64_t due;
};
static struct stream *streams[FILES];
static int running[FILES], count;

static void put(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return;
    if (sent > 0) data += sent, size -= sent;
    else usleep(200); /* the reader is the bottleneck then, which its figures show */
  }
}

static size_t chunk(char *to, const char *text, const char *reason) {
  char frame[512];
  int size = snprintf(frame, sizeof frame, FRAME, text, reason);
  return sprintf(to, "%x\r\n%s\r\n", size, frame);
}

static size_t numbered(char *to, int n) {
  char text[48];
  snprintf(text, sizeof text, "<%d:%lld>", n, (long long)now_us());
  return chunk(to, text, "null");
}

static void end(int fd) {
  char out[1024];
  size_t size = chunk(out, "", "\"stop\"");
  size += sprintf(out + size, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
  put(fd, out, size);
}

static void begin(int fd, int chunks, int every) {
  struct stream *s = streams[fd];
  put(fd, HEAD, sizeof HEAD - 1);
  if (every) {
    s->next = 1;
    s->due = now_us() + (int64_t)every * (fd % 97) / 97; /* spread over the period, not in volleys */
    running[count++] = fd;
    return;
  }
  char out[16384];
  for (int n = 1; n <= chunks;) {
    size_t size = 0;
    for (int group = 0; group < 10 && n <= chunks; group++) size += numbered(out + size, n++);
    put(fd, out, size);
  }
  end(fd);
}

static void drop(int fd) {
  for (int i = 0; i < count; i++)
    if (running[i] == fd) running[i--] = running[--count];
  free(streams[fd]);
  streams[fd] = NULL;
  close(fd);
}

static void readable(int fd, int chunks, int every) {
  struct stream *s = streams[fd];
  ssize_t got = recv(fd, s->in + s->have, sizeof s->in - s->have - 1, 0);
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) drop(fd);
    return;
  }
  s->in[s->have += got] = 0;
  char *body = strstr(s->in, "\r\n\r\n"), *length = strcasestr(s->in, "content-length:");
  if (!body || !length || s->have - (body + 4 - s->in) < atoi(length + 15)) return;
  s->have = 0;
  begin(fd, chunks, every);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int port = atoi(argv[1]), chunks = atoi(argv[2]), every = atoi(argv[3]), one = 1;
  many_files();
  int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
  struct sockaddr_in address = local(port);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 8192)) return perror("bind"), 1;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int found = epoll_wait(poll, events, 512, count ? 1 : 1000);
    for (int i = 0; i < found; i++) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        readable(fd, chunks, every);
        continue;
      }
      if ((fd = accept(listener, NULL, NULL)) < 0) continue;
      no_delay(fd);
      streams[fd] = calloc(1, sizeof(struct stream));
      event.data.fd = fd;
      epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    }
    int64_t now = now_us();
    for (int i = 0; i < count; i++) {
      struct stream *s = streams[running[i]];
      if (s->due > now) continue;
      if (s->next > chunks) {
        s->next = 0;
        end(running[i]);
        running[i--] = running[--count];
        continue;
      }
      char out[1024];
      put(running[i], out, numbered(out, s->next++));
      s->due += every;
    }
  }
}
