"""Writes docs/flags.md, every flag of every command, from their parsers: `python docs/make_flags.py`."""

import argparse
import importlib
import re
import textwrap
from pathlib import Path

PAGE = Path(__file__).with_name("flags.md")

COMMANDS = (
    *("pipelines.download", "pipelines.prepare", "emotion_tf.check"),
    *("emotion_tf.fit", "emotion_tf.crossval", "emotion_tf.tune", "emotion_tf.evaluate", "emotion_tf.compare"),
    *("emotion_tf.fuse", "emotion_tf.export", "emotion_tf.predict", "emotion_tf.serve", "emotion_tf.demo"),
    "emotion_tf.report",
    *("pipelines.text",),
)
"""Modules with a `make_parser`, in the order of their use."""

HEAD = """# Flags

What `--help` of each command prints. Behind each sentence stand what may be given and what holds without the flag.
This page is made by `python docs/make_flags.py`: change the parsers, not the page.
"""

# Flags, and words with marks of Markdown or HTML.
_CODE = re.compile(r"(?<![\w`-])(--[a-z][\w*-]*|[\w./-]*[<*][\w./<>*-]*)")
_MARKS = re.compile(r"([-+*#>]|\d+[.)])\s")


def page() -> str:
    """Returns the whole page."""
    homes: dict[str, str] = {}
    return "\n".join([HEAD, *(section(name, homes) for name in COMMANDS)])


def section(name: str, homes: dict[str, str]) -> str:
    """Describes a command.

    Args:
      name: Of its module.
      homes: Text of a group of flags -> the first command that has it; new ones are added.
    """
    parser, command = importlib.import_module(name).make_parser(), name.partition(".")[2]
    groups = _groups(parser)
    own = {title: text for title, text in groups.items() if homes.setdefault(text, command) == command}
    blocks = [f"## {command}\n", f"{parser.description}\n", f"```text\n{_usage(parser)}\n```\n"]
    for title, text in own.items():
        blocks += [f"### {title.capitalize()}\n"] if title else []
        blocks.append(f"{text}\n")
    for home in dict.fromkeys(homes[text] for title, text in groups.items() if title not in own):
        same = [title for title, text in groups.items() if title not in own and homes[text] == home]
        blocks.append(_filled(f"As with [{home}](#{home}): {', '.join(same)}.") + "\n")
    return "\n".join(blocks)


def _groups(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Lists the flags of each group: title, empty for those without a group -> items of a list."""
    found: dict[str, list[str]] = {}
    untitled = (parser._positionals, parser._optionals)
    for group in parser._action_groups:
        items = [_item(parser, action) for action in group._group_actions if action.dest != "help"]
        found.setdefault("" if group in untitled else str(group.title), []).extend(items)
    return {title: "\n".join(items) for title, items in found.items() if items}


def _usage(parser: argparse.ArgumentParser) -> str:
    return parser.format_usage().removeprefix("usage: ").strip().replace("\n       ", "\n")


def _item(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Writes a flag as an item of a list: what is typed, then the sentence of its help."""
    formatter = parser._get_formatter()
    typed, sentence = formatter._format_action_invocation(action), formatter._expand_help(action)
    return _filled(f"- `{typed}`: " + _CODE.sub(r"`\1`", sentence), "  ")


def _filled(text: str, indent: str = "") -> str:
    """Breaks lines.

    Raises:
      ValueError: A line begins with what Markdown takes for the mark of a list or a heading: say it otherwise.
    """
    lines = textwrap.wrap(text, 118, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    for line in lines[1:]:
        if _MARKS.match(line.lstrip()):
            raise ValueError(f"Markdown would read a mark in {line.strip()!r}")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
