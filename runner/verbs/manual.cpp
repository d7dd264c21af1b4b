#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/verbs/command_tree.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

constexpr std::pair<ExitCode, const char*> kExitCodes[] = {
    {ExitCode::done, "done"},
    {ExitCode::internal, "an error of the program"},
    {ExitCode::usage, "the command line or the recipe"},
    {ExitCode::data, "the data set"},
    {ExitCode::no_checkpoint, "no usable checkpoint"},
    {ExitCode::hang, "a rank hung: resume"},
    {ExitCode::collective, "a collective failed: resume"},
    {ExitCode::rank_lost, "a rank was lost: resume"},
    {ExitCode::cannot_write, "a file cannot be written"},
    {ExitCode::stopped, "stopped on request, saved: resume"},
    {ExitCode::non_finite, "a number is not finite"},
    {ExitCode::preflight, "this machine cannot do what is asked"},
};

// Text that troff takes as it is.
std::string troff(const std::string& text) {
  std::string safe;
  for (const char letter : text) {
    if (letter == '\\') {
      safe += "\\e";
    } else if (letter == '-') {
      safe += "\\-";
    } else if (letter == '\'') {
      safe += "\\(aq";
    } else if (letter == '.' && safe.empty()) {
      safe += "\\&.";
    } else {
      safe += letter;
    }
  }
  return safe;
}

std::string joined(const Command& command, const char* separator) {
  std::string name = "lockstep";
  for (const std::string& word : command.path) name += separator + word;
  return name;
}

std::string page_name(const Command& command) { return joined(command, "-"); }

std::string synopsis(const Command& command) {
  std::string line = fmt::format("\\fB{}\\fR [\\fIOPTIONS\\fR]", troff(joined(command, " ")));
  for (const Argument& argument : command.arguments) {
    const std::string value = fmt::format("\\fI{}\\fR", troff(argument.value));
    line += argument.required ? " " + value : " [" + value + "]";
    if (argument.repeatable) line += " ...";
  }
  if (!command.commands.empty()) line += " \\fIVERB\\fR ...";
  return line + "\n";
}

std::string entry(const Argument& argument) {
  std::vector<std::string> names;
  for (const std::string& name : argument.names)
    names.push_back(fmt::format("\\fB{}\\fR", troff(name)));
  std::string term = fmt::format("{}", fmt::join(names, ", "));
  if (!argument.value.empty()) {
    term += fmt::format("{}\\fI{}\\fR", names.empty() ? "" : " ", troff(argument.value));
  }
  std::string notes;
  if (!argument.choices.empty()) {
    notes +=
        fmt::format("\nOne of {}.", troff(fmt::format("{}", fmt::join(argument.choices, ", "))));
  }
  if (!argument.default_value.empty())
    notes += fmt::format("\nDefault: {}.", troff(argument.default_value));
  if (argument.required && !argument.names.empty()) notes += "\nMust be given.";
  return fmt::format(".TP\n{}\n{}{}\n", term, troff(argument.description), notes);
}

std::string section(const char* title, const std::string& text) {
  return text.empty() ? "" : fmt::format(".SH {}\n{}", title, text);
}

std::string entries(const std::vector<Argument>& arguments) {
  std::string text;
  for (const Argument& argument : arguments) text += entry(argument);
  return text;
}

std::string exit_status() {
  std::string text;
  for (const auto& [code, meaning] : kExitCodes) {
    text += fmt::format(".TP\n\\fB{}\\fR\n{}\n", static_cast<int>(code), meaning);
  }
  return text;
}

std::string page(const Command& command) {
  std::string verbs, see_also;
  if (!command.path.empty()) see_also = "\\fBlockstep\\fR(1)\n";
  for (const Command& below : command.commands) {
    verbs +=
        fmt::format(".TP\n\\fB{}\\fR(1)\n{}\n", troff(page_name(below)), troff(below.description));
  }
  std::string title = page_name(command);
  std::ranges::transform(title, title.begin(),
                         [](unsigned char letter) { return std::toupper(letter); });
  return fmt::format(".TH {} 1 {} \"lockstep {}\" Lockstep\n", title, LOCKSTEP_DATE,
                     LOCKSTEP_VERSION) +
         section("NAME", fmt::format("{} \\- {}\n", troff(page_name(command)),
                                     troff(command.description))) +
         section("SYNOPSIS", synopsis(command)) + section("ARGUMENTS", entries(command.arguments)) +
         section("OPTIONS", entries(command.options)) + section("VERBS", verbs) +
         section("EXIT STATUS", command.path.empty() ? exit_status() : "") +
         section("SEE ALSO", see_also);
}

ExitCode manual(const Command& program, const std::vector<std::string>& path,
                const std::string& out) {
  for (const Command* command : all_commands(program)) {
    if (!out.empty()) {
      make_folders(out);
      write_file(std::filesystem::path(out) / (page_name(*command) + ".1"), page(*command));
    } else if (command->path == path) {
      std::cout << page(*command);
      return ExitCode::done;
    }
  }
  if (!out.empty()) return ExitCode::done;
  throw UsageError("E100", fmt::format("there is no verb '{}'", fmt::join(path, " ")),
                   "`lockstep --help` lists them");
}

}  // namespace

void add_manual(CLI::App& app, Chosen& chosen) {
  struct Options {
    std::vector<std::string> path;
    std::string out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "manual", "print the manual page of the program or of a verb, for `man -l -`");
  verb->add_option("VERB", options->path, "as train, or data make");
  verb->add_option("--out", options->out, "write all pages into this folder instead")
      ->type_name("DIR");
  verb->callback([options, &app, &chosen] {
    chosen = [options, &app](World&) {
      return manual(describe_command(app), options->path, options->out);
    };
  });
}

}  // namespace lockstep::runner
