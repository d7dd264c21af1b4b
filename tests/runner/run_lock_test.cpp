#include "runner/run_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "comm/error.h"
#include "runner/requests.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

constexpr const char* kDead =
    R"({"host": "%s", "process": 1073741824, "process_start": "1", "job": ""})";

TEST(RunLock, WhatAnotherTookOverIsLeftToIt) {
  const TemporaryFolder folder;
  const RunDirectory run{folder.path()};
  {
    const RunLock lock(run);
    EXPECT_TRUE(is_owned(run));
    std::filesystem::remove(run.lock());
    write_file(run.lock(), "of another host");
  }
  EXPECT_EQ(read_text(run.lock()), "of another host");
}

TEST(RunLock, OfManyWhoFindItAbandonedOneGetsIt) {
  constexpr int kProcesses = 8;
  const TemporaryFolder folder;
  const RunDirectory run{folder.path()};
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  char text[512];
  std::snprintf(text, sizeof(text), kDead, host);
  write_file(run.lock(), text);
  int begin[2], end[2];
  ASSERT_EQ(pipe(begin), 0);
  ASSERT_EQ(pipe(end), 0);
  for (int i = 0; i < kProcesses; ++i) {
    if (fork() == 0) {
      alarm(30);  // a second owner would wait for ever
      close(begin[1]);
      close(end[1]);
      char none;
      int code = 1;
      if (read(begin[0], &none, 1) != 0) _exit(9);
      try {
        const RunLock lock(run);
        code = read(end[0], &none, 1) == 0 ? 0 : 9;
      } catch (const UsageError&) {
      }
      _exit(code);
    }
  }
  close(begin[0]);
  close(begin[1]);  // all at once
  close(end[0]);
  int owners = 0, refused = 0;
  for (int i = 0; i < kProcesses; ++i) {
    // The owner stays until all others were refused.
    if (refused == kProcesses - 1) close(end[1]);
    int status = 0;
    ASSERT_GT(waitpid(-1, &status, 0), 0);
    (!WIFEXITED(status) || WEXITSTATUS(status) == 0 ? owners : refused) += 1;
  }
  EXPECT_EQ(owners, 1);
  EXPECT_EQ(refused, kProcesses - 1);
}

TEST(Requests, OfALaunchThatIsOverAreForgotten) {
  const TemporaryFolder folder;
  const RunDirectory run{folder.path()};
  ask_to_stop(run);
  ask_to_save(run);
  forget_requests(run);
  Requests requests(run, {}, /*watches_files=*/true);
  const Wishes wishes = requests.poll();
  EXPECT_FALSE(wishes.stop);
  EXPECT_FALSE(wishes.save);
}

}  // namespace
}  // namespace lockstep::runner
