"""`dnas completion`: a script by which a shell fills in commands and options."""

from __future__ import annotations

import shlex

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.commands import COMMANDS, PLAIN_COMMANDS
from dnas.cli.parser import Command, build_parser, load
from dnas.system.errors import UserError

_BASH = """\
# Completion of dnas for bash.
_dnas() {{
  local word=${{COMP_WORDS[COMP_CWORD]}}
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
}}
complete -o default -F _dnas dnas
"""
_BASH_CASE = '    {name}) case "$word" in -*) COMPREPLY=($(compgen -W "{options}" -- "$word")) ;; esac ;;'
_ZSH = """\
#compdef dnas
# Completion of dnas for zsh.
_dnas() {{
  if (( CURRENT == 2 )); then
    local -a commands=({described})
    _describe command commands
    return
  fi
  case $words[2] in
{cases}
  esac
  _files
}}
_dnas "$@"
"""
_ZSH_CASE = "    {name}) [[ $PREFIX == -* ]] && compadd -- {options} && return ;;"


def script(shell: str) -> str:
    """The script for a shell.

    Args:
        shell: 'bash', 'zsh' or 'fish'.

    Raises:
        UserError: it is another shell.
    """
    options = {name: _options(name) for name in COMMANDS}
    if shell == "bash":
        cases = "\n".join(_BASH_CASE.format(name=name, options=" ".join(found)) for name, found in options.items())
        return _BASH.format(commands=" ".join(COMMANDS | PLAIN_COMMANDS), cases=cases)
    if shell == "zsh":
        cases = "\n".join(_ZSH_CASE.format(name=name, options=" ".join(found)) for name, found in options.items())
        described = " ".join(shlex.quote(f"{name}:{said}") for name, said in (COMMANDS | PLAIN_COMMANDS).items())
        return _ZSH.format(described=described, cases=cases)
    if shell == "fish":
        return "\n".join(["# Completion of dnas for fish.", *_fish(options)]) + "\n"
    raise UserError(f"There is no completion for {shell!r}; there is for bash, zsh and fish.")


def _options(command: str) -> list[str]:
    """The long options of a command, in order, without those that only explain a part."""
    found = [option for action in build_parser(load(command))._actions for option in action.option_strings]
    return [option for option in found if option.startswith("--") and not option.endswith(".help")]


def _fish(options: dict[str, list[str]]) -> list[str]:
    lines = [
        f"complete -c dnas -n __fish_use_subcommand -a {name} -d {shlex.quote(said)}"
        for name, said in (COMMANDS | PLAIN_COMMANDS).items()
    ]
    for name, found in options.items():
        seen = f"'__fish_seen_subcommand_from {name}'"
        lines += [f"complete -c dnas -n {seen} -l {option.removeprefix('--')}" for option in found]
    return lines


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("shell", type=str, help="bash, zsh or fish")


def _run(config: Namespace, given: Arguments) -> None:
    print(script(config.shell), end="")


COMMAND = Command("completion", _fill, _run)
