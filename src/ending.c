/* Ends a process in time where Python cannot: a library that waits while it holds the interpreter's
 * lock stops every thread of Python, that of running/ending.py among them. This one needs no lock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { IMPORTING, RUNNING, CLOSING, CLOSED }; /* `Stage` */

/* Written by Python at any time. */
struct ep_ending {
  double limit_s; /* from the first signal to the end */
  int32_t stage;
  int32_t code; /* exit status once all is closed */
};

struct watch {
  int reading, writing, parent;
  uint64_t signals;
  const volatile struct ep_ending *ending;
};

static const int64_t tick_ns = 10000000;
static const int64_t say_ns = 100000000;

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void wait_ns(int64_t ns) {
  struct timespec left = {ns / 1000000000, ns % 1000000000};
  while (nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
}

/* Whether one of the signals is among the bytes that are there; passes all of them on. -1: nobody
 * will write any more. */
static int relay(const struct watch *of) {
  uint8_t bytes[64];
  ssize_t count = read(of->reading, bytes, sizeof bytes);
  if (count < 0) return errno == EINTR || errno == EAGAIN ? 0 : -1;
  if (count == 0) return -1;
  int wanted = 0;
  for (ssize_t k = 0; k < count; k++)
    wanted |= bytes[k] < 64 && (of->signals >> bytes[k] & 1);
  (void)!write(of->writing, bytes, (size_t)count);
  return wanted;
}

/* Where every thread of Python is, as faulthandler writes it. */
static void *say(void *given) {
  (void)given;
  static const char text[] =
      "edge_perception: ended in the middle of a step, in a library that keeps Python waiting\n";
  (void)!write(2, text, sizeof text - 1);
  const char *(*dump)(int, void *, void *);
  *(void **)&dump = dlsym(RTLD_DEFAULT, "_Py_DumpTracebackThreads");
  if (dump) dump(2, NULL, NULL);
  return NULL;
}

static void *watch(void *given) {
  const struct watch of = *(struct watch *)given;
  free(given);
  int wanted = 0;
  while (!wanted) {
    struct pollfd fds[2] = {{of.reading, POLLIN, 0}, {of.parent, POLLIN, 0}};
    if (poll(fds, of.parent < 0 ? 1 : 2, -1) < 0) continue;
    if (fds[0].revents) wanted = relay(&of);
    if (wanted < 0) return NULL;
    if (fds[1].revents) wanted = 1; /* nobody writes into it: this is its end */
  }
  double began_s = now_s();
  while (now_s() < began_s + of.ending->limit_s) wait_ns(tick_ns);
  int32_t stage = of.ending->stage;
  if (stage == IMPORTING) _exit(0);
  if (stage == CLOSED) _exit(of.ending->code);
  pthread_t saying; /* a reader that does not read must not keep the process */
  if (pthread_create(&saying, NULL, say, NULL) == 0) wait_ns(say_ns);
  _exit(stage == CLOSING);
}

/* Starts the thread. Bytes of `reading` are passed on to `writing`; the first that is one of
 * `signals` (bits), or the end of `parent` (-1: none), starts the time. Returns 0, or an errno. */
int ep_watch_ending(int reading, int writing, int parent, uint64_t signals,
                    const struct ep_ending *ending) {
  struct watch *of = malloc(sizeof *of);
  if (!of) return ENOMEM;
  *of = (struct watch){reading, writing, parent, signals, ending};
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads of Python */
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  int failed = pthread_create(&thread, &detached, watch, of);
  pthread_attr_destroy(&detached);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed) free(of);
  return failed;
}
