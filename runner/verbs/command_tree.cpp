#include "runner/verbs/command_tree.h"

#include <sstream>

namespace lockstep::runner {
namespace {

// "{stop,checkpoint}" of the type that a choice has.
std::vector<std::string> choices_in(const std::string& type) {
  const size_t begin = type.find('{');
  if (begin == std::string::npos) return {};
  std::istringstream list(type.substr(begin + 1, type.find('}', begin) - begin - 1));
  std::vector<std::string> choices;
  for (std::string choice; std::getline(list, choice, ',');) choices.push_back(choice);
  return choices;
}

Argument describe_argument(const CLI::Option& option) {
  Argument argument{.description = option.get_description(),
                    .default_value = option.get_default_str(),
                    .required = option.get_required(),
                    .repeatable = option.get_items_expected_max() > 1};
  for (const std::string& name : option.get_snames()) argument.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) argument.names.push_back("--" + name);
  const std::string type = option.get_type_name();
  argument.choices = choices_in(type);
  if (argument.names.empty()) {
    argument.value = option.get_name(/*positional=*/true);
  } else if (option.get_items_expected_max() > 0) {
    argument.value = type.substr(0, type.find(':'));
  }
  return argument;
}

Command describe(const CLI::App& app, std::vector<std::string> path) {
  Command command{.path = std::move(path), .description = app.get_description()};
  for (const CLI::Option* option : app.get_options()) {
    Argument argument = describe_argument(*option);
    (argument.names.empty() ? command.arguments : command.options).push_back(std::move(argument));
  }
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (verb->get_group().empty()) continue;
    std::vector<std::string> below = command.path;
    below.push_back(verb->get_name());
    command.commands.push_back(describe(*verb, std::move(below)));
  }
  return command;
}

void append(const Command& command, std::vector<const Command*>& all) {
  all.push_back(&command);
  for (const Command& below : command.commands) append(below, all);
}

}  // namespace

Command describe_command(const CLI::App& app) { return describe(app, {}); }

std::vector<const Command*> all_commands(const Command& command) {
  std::vector<const Command*> all;
  append(command, all);
  return all;
}

}  // namespace lockstep::runner
