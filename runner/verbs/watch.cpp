#include <csignal>
#include <filesystem>
#include <memory>

#include "runner/liveness/watcher.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {

// Started by the first rank of each node, not by people.
void add_watch(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<WatchOptions>();
  CLI::App* verb = app.add_subcommand("watch", "watch the ranks of one node of a run");
  verb->group("");
  verb->add_option("RUN", options->run.root, "the run's folder")->required();
  verb->add_option("--blocks", options->blocks, "folder of the ranks' blocks")->required();
  verb->add_option("--launch", options->launch, "name of this start of the run")->required();
  verb->add_option("--ranks", options->ranks, "ranks of this node")->required();
  verb->add_option("--hang", options->hang_seconds, "least time that is called a hang");
  verb->add_option("--scores", options->scores_seconds, "between two looks at who is slow");
  verb->add_option("--starter", options->starter, "process that started this one")->required();
  verb->add_flag("--launched", options->has_launcher, "end ranks whose launcher is gone");
  verb->callback([options, &chosen] {
    chosen = [options](World&) {
      // Its words may come when the launcher reads no more; the files are written all the same.
      std::signal(SIGPIPE, SIG_IGN);
      watch_node(*options);
      std::error_code code;
      std::filesystem::remove_all(options->blocks, code);
      return ExitCode::done;
    };
  });
}

}  // namespace lockstep::runner
