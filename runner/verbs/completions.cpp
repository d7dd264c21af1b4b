#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <iostream>
#include <memory>

#include "runner/verbs/command_tree.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

std::string words(const Command& command) {
  return fmt::format("{}", fmt::join(command.path, " "));
}

std::vector<std::string> candidates(const Command& command) {
  std::vector<std::string> all;
  for (const Command& below : command.commands) all.push_back(below.path.back());
  for (const Argument& option : command.options) {
    all.insert(all.end(), option.names.begin(), option.names.end());
  }
  for (const Argument& argument : command.arguments) {
    all.insert(all.end(), argument.choices.begin(), argument.choices.end());
  }
  return all;
}

bool takes_file(const Argument& argument) {
  return argument.names.empty() || argument.value == "FILE" || argument.value == "DIR" ||
         argument.value == "PATH";
}

// ---- bash

std::string bash_options_with_values(const Command& command) {
  std::string cases;
  for (const Argument& option : command.options) {
    if (option.value.empty()) continue;
    for (const std::string& name : option.names) {
      cases += fmt::format("    '{} {}') words='{}' ;;\n", words(command), name,
                           fmt::join(option.choices, " "));
    }
  }
  return cases;
}

std::string bash(const Command& program) {
  std::string paths, options, verbs;
  for (const Command* command : all_commands(program)) {
    if (!command->path.empty())
      paths += fmt::format("{}'{}'", paths.empty() ? "" : " | ", words(*command));
    options += bash_options_with_values(*command);
    verbs += fmt::format("    '{}') words='{}' ;;\n", words(*command),
                         fmt::join(candidates(*command), " "));
  }
  // Where no word fits, `-o default` completes files: values of options, recipes, runs.
  return fmt::format(R"(# bash completion for lockstep, by `lockstep completions bash`
_lockstep() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} verb= words= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{verb:+$verb }}${{COMP_WORDS[i]}}" in
    {}) verb="${{verb:+$verb }}${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$verb ${{COMP_WORDS[COMP_CWORD - 1]}}" in
{}    *)
    case "$verb" in
{}    esac ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}}
complete -o default -F _lockstep lockstep
)",
                     paths, options, verbs);
}

// ---- zsh

std::string escaped(std::string text, const std::string& characters, const std::string& by) {
  for (size_t at = 0; (at = text.find_first_of(characters, at)) != std::string::npos;
       at += by.size() + 1) {
    text.insert(at, by);
  }
  return text;
}

// Within single quotes, and within what _arguments reads.
std::string zsh_text(const std::string& text) {
  std::string safe = escaped(text, "[]:", "\\");
  for (size_t at = 0; (at = safe.find('\'', at)) != std::string::npos; at += 4) {
    safe.replace(at, 1, "'\\''");
  }
  return safe;
}

std::string zsh_value(const Argument& argument) {
  std::string action = takes_file(argument) ? "_files" : " ";
  if (!argument.choices.empty()) action = fmt::format("({})", fmt::join(argument.choices, " "));
  return fmt::format(":{}:{}", zsh_text(argument.value), action);
}

std::string zsh_name(const Command& command) {
  std::string name = "_lockstep";
  for (const std::string& word : command.path) name += "_" + word;
  return name;
}

std::string zsh_function(const Command& command) {
  std::string specs;
  for (const Argument& option : command.options) {
    for (const std::string& name : option.names) {
      specs +=
          fmt::format(" \\\n    '{}{}[{}]{}'", option.repeatable ? "*" : "", name,
                      zsh_text(option.description), option.value.empty() ? "" : zsh_value(option));
    }
  }
  for (const Argument& argument : command.arguments) {
    specs += fmt::format(" \\\n    '{}{}'", argument.repeatable ? "*" : "", zsh_value(argument));
  }
  if (command.commands.empty()) {
    return fmt::format("{}() {{\n  _arguments{}\n}}\n", zsh_name(command), specs);
  }
  std::string verbs, calls;
  for (const Command& below : command.commands) {
    verbs += fmt::format("\n      '{}:{}'", below.path.back(), zsh_text(below.description));
    calls += fmt::format("    {}) {} ;;\n", below.path.back(), zsh_name(below));
  }
  return fmt::format(R"({}() {{
  local context state state_descr line
  typeset -A opt_args
  _arguments -C{} \
    '1:verb:->verb' '*::argument:->argument'
  case $state in
  verb)
    local -a verbs=({})
    _describe verb verbs ;;
  argument)
    case $line[1] in
{}    esac ;;
  esac
}}
)",
                     zsh_name(command), specs, verbs, calls);
}

std::string zsh(const Command& program) {
  std::string text =
      "#compdef lockstep\n# zsh completion for lockstep, by `lockstep completions zsh`\n";
  std::vector<const Command*> all = all_commands(program);
  std::ranges::reverse(all);
  for (const Command* command : all) text += zsh_function(*command);
  return text + "_lockstep \"$@\"\n";
}

// ---- fish

std::string fish_text(const std::string& text) { return "'" + escaped(text, "'\\", "\\") + "'"; }

std::string fish_lines(const Command& command) {
  const std::string here = fish_text(fmt::format("__lockstep_at {}", words(command)));
  const std::string exactly = fish_text(fmt::format("__lockstep_only {}", words(command)));
  std::string lines;
  for (const Command& below : command.commands) {
    lines += fmt::format("complete -c lockstep -n {} -f -a {} -d {}\n", exactly, below.path.back(),
                         fish_text(below.description));
  }
  for (const Argument& option : command.options) {
    lines += fmt::format("complete -c lockstep -n {}", command.path.empty() ? exactly : here);
    for (const std::string& name : option.names) {
      lines += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    if (!option.value.empty()) lines += " -r";
    if (!option.choices.empty())
      lines += fmt::format(" -f -a '{}'", fmt::join(option.choices, " "));
    lines += fmt::format(" -d {}\n", fish_text(option.description));
  }
  for (const Argument& argument : command.arguments) {
    if (argument.choices.empty()) continue;
    lines += fmt::format("complete -c lockstep -n {} -f -a '{}' -d {}\n", here,
                         fmt::join(argument.choices, " "), fish_text(argument.description));
  }
  return lines;
}

std::string fish(const Command& program) {
  std::string text = R"(# fish completion for lockstep, by `lockstep completions fish`
function __lockstep_words
    string match -v -- '-*' (commandline -opc)[2..]
end
function __lockstep_only
    set -l words (__lockstep_words)
    test "$words" = "$argv"
end
function __lockstep_at
    set -l words (__lockstep_words)
    string match -q -- "$argv *" "$words "
end
)";
  for (const Command* command : all_commands(program)) text += fish_lines(*command);
  return text;
}

}  // namespace

void add_completions(CLI::App& app, Chosen& chosen) {
  auto shell = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("completions", "print what makes a shell complete lockstep's words");
  verb->add_option("SHELL", *shell, "the shell that it is for")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  verb->callback([shell, &app, &chosen] {
    chosen = [shell, &app](World&) {
      const Command program = describe_command(app);
      std::cout << (*shell == "bash"  ? bash(program)
                    : *shell == "zsh" ? zsh(program)
                                      : fish(program));
      return ExitCode::done;
    };
  });
}

}  // namespace lockstep::runner
