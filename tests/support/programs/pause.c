/* The first process of a pod: it keeps the pod's namespaces alive, reaps
 * orphans if it is the pod's process 1, and ends on SIGTERM. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

static void reap(int signal) {
  (void)signal;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

int main(void) {
  struct sigaction on_end = {.sa_handler = end};
  struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
  if (sigaction(SIGTERM, &on_end, 0) || sigaction(SIGINT, &on_end, 0) ||
      sigaction(SIGCHLD, &on_child, 0)) {
    return 1;
  }
  for (;;) {
    pause();
  }
}
