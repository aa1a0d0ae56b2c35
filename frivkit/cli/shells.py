"""How bash, zsh and fish ask what they complete, and take the answer.

Click completes the value of an option, and a shell replaces a word of its own: behind ``--task=``
these differ.  Bash also begins a word behind each ``=`` and ``:``, which cuts ``key=value`` and
data specs.  Here a completion is always a whole word; what bash keeps of it is then left out.
"""

import os
from collections.abc import Sequence
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD COMP_LINE="$COMP_LINE" \
COMP_POINT=$COMP_POINT %(complete_var)s=bash_complete $1)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        else
            COMPREPLY+=("$value")
            [[ $value == *[=:] ]] && compopt -o nospace
        fi
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_FILES_BEHIND_SIGNS = {
    "zsh": ("_path_files -f", "compset -P '*[=:]'; _path_files -f"),
    "fish": (
        "__fish_complete_path $metadata[2];",
        "set -l begun (string replace -r '[^=:]*$' '' -- $metadata[2]); "
        "for path in (__fish_complete_path (string replace -r '^.*[=:]' '' -- $metadata[2])); "
        "echo $begun$path; end;",
    ),
}
"""What replaces a line of click's script, so that files behind ``=`` and ``:`` are completed."""


class _WholeWords(ShellComplete):
    """Completions as whole words, ``--task=segment`` and not ``segment``."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return what the word that was begun may become."""
        option, sign, _ = incomplete.partition("=")
        items = super().get_completions(args, incomplete)
        if not (sign and option.startswith("--")):
            return items
        return [
            CompletionItem(f"{option}={item.value}", type=item.type, help=item.help)
            for item in items
        ]

    def source(self) -> str:
        """Return the script for the shell."""
        return super().source().replace(*_FILES_BEHIND_SIGNS.get(self.name, ("", "")), 1)


@add_completion_class
class Zsh(_WholeWords, ZshComplete):
    """Completion for zsh, whose words are whole."""


@add_completion_class
class Fish(_WholeWords, FishComplete):
    """Completion for fish, whose words are whole."""


@add_completion_class
class Bash(_WholeWords, BashComplete):
    """Completion for bash, which cuts words at the signs of ``COMP_WORDBREAKS``."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the whole words in front of the cursor, and the one that was begun."""
        words = os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]
        point = int(os.environ.get("COMP_POINT", "-1"))
        line = os.environ.get("COMP_LINE", " ".join(words)).encode()
        before = (line if point < 0 else line[:point]).decode(errors="replace")
        while not before.endswith(words[-1]):  # the cursor may stand within a word
            words[-1] = words[-1][:-1]
        whole = rejoined(words, before)
        self._kept = _kept(whole[-1], words[-1])
        return [_bare(word) for word in whole[1:-1]], _bare(whole[-1])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a completion without what bash keeps of the word."""
        return f"{item.type},{item.value.removeprefix(self._kept)}"


def rejoined(words: Sequence[str], line: str) -> list[str]:
    """Return the words of a line that bash has cut, those that touch each other joined.

    Args:
        words: The words as bash cuts them, up to the one with the cursor.
        line: The line up to the cursor.

    Example:
        >>> rejoined(["frivkit", "analyze", "--task", "=", "se"], "frivkit analyze --task=se")
        ['frivkit', 'analyze', '--task=se']
        >>> rejoined(["frivkit", "analyze", ""], "frivkit analyze ")
        ['frivkit', 'analyze', '']
    """
    whole: list[str] = []
    end = 0
    for word in words:
        start = line.find(word, end)
        if whole and word and start == end:
            whole[-1] += word
        else:
            whole.append(word)
        end = max(start, end) + len(word)
    return whole


def _kept(whole: str, last: str) -> str:
    """Return what bash keeps of a word when it replaces the last of its parts."""
    replaced = "" if not last.strip("=:") else last
    return _bare(whole.removesuffix(replaced))


def _bare(word: str) -> str:
    """Return a word without its quotes."""
    return "".join(split_arg_string(word))
