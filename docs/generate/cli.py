"""The reference of the command line, made/cli.md: every command and option as the Typer app has them."""

from pathlib import Path
from typing import Any

import typer.main

from posert.cli import app
from posert.flags import EMBED, LOOK, MEASURE, MODELS, PEOPLE

PANELS = {
    PEOPLE: "Find people", LOOK: "Look at results", MODELS: "Models", EMBED: "In other programs", MEASURE: "Measure",
}  # fmt: skip


def write(folder: Path) -> None:
    """Writes made/cli.md."""
    app_: Any = typer.main.get_command(app)
    text = "# Command line\n\nMade from the command itself. `posert COMMAND --help` shows the same in a terminal.\n"
    commands = list(_commands(app_, "posert"))
    for panel, title in PANELS.items():
        text += f"\n## {title}\n" + "".join(_command(*each) for each in commands if _panel(each[1]) == panel)
    text += "\n## For all\n" + _options(app_.params)
    (folder / "cli.md").write_text(text, encoding="utf-8")


def _commands(group: Any, before: str) -> Any:
    """Name and command, groups opened, in the order of `--help`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            for inner, each in _commands(command, f"{before} {name}"):
                each.rich_help_panel = command.rich_help_panel
                yield inner, each
        else:
            yield f"{before} {name}", command


def _panel(command: Any) -> str:
    panel = getattr(command, "rich_help_panel", None)
    return panel if panel in PANELS else MODELS


def _command(name: str, command: Any) -> str:
    words = " ".join(_usage(param) for param in command.params if param.param_type_name == "argument")
    sentence, _, rest = (command.help or "").partition("\n\n")
    examples = [line.strip().removeprefix("Example: ") for line in rest.splitlines() if line.strip()]
    text = f"\n### {name}\n\n{_plain(sentence)}\n\n```text\n{name} [OPTIONS] {words}\n```\n"
    if examples:
        text += (
            "\n"
            + "\n".join(f"{'For example `' + e + '`' if e.startswith('posert') else _plain(e)}" for e in examples)
            + "\n"
        )
    return text + _options(command.params)


def _usage(param: Any) -> str:
    name = param.name.upper() + ("..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _options(params: list[Any]) -> str:
    """A table for each panel of the command's help."""
    panels: dict[str, list[str]] = {}
    for param in params:
        if not getattr(param, "hidden", False):
            panels.setdefault(getattr(param, "rich_help_panel", None) or "", []).append(_row(param))
    return "".join(f"\n| {title} | | |\n|---|---|---|\n{''.join(rows)}" for title, rows in panels.items())


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        names = _usage(param)
    else:
        names = ", ".join([*param.opts, *param.secondary_opts])
    default = param.default if param.default not in (None, False, (), []) and not callable(param.default) else ""
    kind = "" if getattr(param, "is_flag", False) else param.type.name
    said = (getattr(param, "help", "") or "").replace("|", "\\|")
    return f"| `{names}` | {_plain(said)} | {kind}{f', {default}' if default != '' and not param.required else ''} |\n"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("<", "\\<").replace("*", "\\*")
