#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace lockstep::runner {

/// An option, or an argument by its place, as the help shows it.
struct Argument {
  std::vector<std::string> names;    // "-h", "--help"; empty for one by its place
  std::string value;                 // what it takes, as "DIR"; empty for a flag
  std::vector<std::string> choices;  // the only values, where there are such
  std::string description;
  std::string default_value;
  bool required = false;
  bool repeatable = false;
};

/// The program or one of its verbs.
struct Command {
  std::vector<std::string> path;  // "data", "make"; empty for the program
  std::string description;
  std::vector<Argument> arguments;  // by their place
  std::vector<Argument> options;
  std::vector<Command> commands;
};

/// What the command line takes, as the parser itself knows it; without verbs that are not for
/// people.
Command describe_command(const CLI::App& app);

/// The command and all below it, each before its own.
std::vector<const Command*> all_commands(const Command& command);

}  // namespace lockstep::runner
