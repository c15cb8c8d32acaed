"""What jsonargparse says about a mistake, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import isabstract
from traceback import walk_tb

import dnas
from dnas.system.errors import UserError
from dnas.system.words import did_you_mean

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "Path": "a path",
    "tuple": "a list, such as [1, 2]",
    "list": "a list, such as [1, 2]",
    "NoneType": "null",
}


def plainer(message: str, command: str, options: Collection[str]) -> str:
    """One line for a message of jsonargparse; one that is not known comes back as it is.

    Args:
        message: of its `ArgumentError`.
        command: whose options these are, empty before there is one.
        options: names of all settings of the command, such as 'search.weights.lr'.
    """
    words = " ".join(message.split())
    found = re.fullmatch(r'Parser key "([^"]+)"(?: element \d+)?: (.*)', words)
    if found:
        return _about_value(found[1], found[2]) or words
    for pattern, say in _ABOUT_ARGUMENTS:
        found = re.fullmatch(pattern, words)
        if found:
            return say(found, command, options)
    return words


# A value that does not fit its setting.


def _about_value(name: str, problem: str) -> str:
    """What is wrong with the value of `--name`; empty where the problem is not known."""
    nested = re.fullmatch(r"Problem with given class_path '([^']+)': (.*)", problem)
    if nested:
        return _about_part(name, nested[1], nested[2])
    incomplete = re.search(r"Given value: Namespace\(class_path='([^']+)', init_args=Namespace\((.*)\)\)$", problem)
    if incomplete:
        return _about_arguments(name, incomplete[1], incomplete[2])
    number = re.fullmatch(r"Expected a dot import path string: ([-+\d.e]+)", problem)
    if number and name.rpartition(".")[2] in _names_of_schedules():
        return f"--{name}: {_no_part(number[1], 'Schedule')}"
    for pattern, say in _ABOUT_VALUES:
        found = re.fullmatch(pattern, problem)
        if found:
            return f"--{name}: {say(found)}"
    return ""


def _about_part(name: str, path: str, problem: str) -> str:
    """What is wrong with a part that was named by its class."""
    unknown = re.fullmatch(r"Option '([^']+)' is not accepted", problem)
    if unknown:
        return f"--{name}: {path} has no setting {unknown[1]!r}; it has {_settings_of(path)}."
    unknown = re.fullmatch(r"unrecognized arguments: --([\w.]+)(?:=.*)?", problem)
    if unknown:
        return f"--{name}: {path} has no setting {unknown[1]!r}; it has {_settings_of(path)}."
    missing = re.fullmatch(r"the following arguments are required: (.*)", problem)
    if missing:
        first = missing[1].split(", ")[0]
        return f"--{name}: {path} needs {missing[1]}; give it as --{name}.{first}, or as init_args in a recipe."
    nested = re.fullmatch(r'Parser key "([^"]+)": (.*)', problem)
    if nested:
        return _about_value(f"{name}.{nested[1]}", nested[2])
    return f"--{name}: there is no part {path!r} ({problem}). {_how_to_name_a_part()}"


def _about_arguments(name: str, path: str, arguments: str) -> str:
    """What is wrong with a part that was named by its class, where all that is known is what it was given."""
    missing = re.findall(r"(\w+)=None", arguments)
    if missing:
        needs = f"{path} needs {', '.join(missing)}"
        return f"--{name}: {needs}; give it as --{name}.{missing[0]}, or as init_args in a recipe."
    return f"--{name}: {path} does not take {arguments}; it has {_settings_of(path)}."


def _names_of_schedules() -> set[str]:
    """Settings of public parts that may be a `Schedule`."""
    parts = [part for name in dnas.__all__ if is_dataclass(part := getattr(dnas, name))]
    return {field.name for part in parts for field in fields(part) if "Schedule" in str(field.type)}


def _settings_of(path: str) -> str:
    kind = getattr(dnas, path.removeprefix("dnas."), None)
    names = [field.name for field in fields(kind)] if isinstance(kind, type) and is_dataclass(kind) else []
    return ", ".join(names) or "none"


def _known_parts(kind: str) -> str:
    """The public classes of a kind, such as 'Relaxation'."""
    base = getattr(dnas, kind, None)
    public = [getattr(dnas, name) for name in dnas.__all__]
    known = [part for part in public if isinstance(part, type) and isinstance(base, type) and issubclass(part, base)]
    return ", ".join(f"dnas.{part.__name__}" for part in known if not isabstract(part))


def _how_to_name_a_part() -> str:
    return (
        "`dnas search --help` lists the known ones beside the setting; one of your own is named by its import path, "
        "package.module.Class."
    )


def _no_part(value: str, kind: str = "") -> str:
    """What to write where a class was expected."""
    expected = f"a {kind}: {_known_parts(kind)}, or" if kind else "a part, such as dnas.Softmax, or"
    text = f"expected {expected} the import path of one of your own; got {value}."
    text += _why_not_imported(value)
    if kind in ("", "Schedule") and re.fullmatch(r"[-+\d.e]+", value):
        text += f" A value that stays the same is {{class_path: dnas.Constant, init_args: {{value: {value}}}}}."
    return text


def _why_not_imported(value: str) -> str:
    """Why the module of an import path, package.module.Class, cannot be imported; empty where it can.

    Raises:
        UserError: the module's own code fails.
    """
    module, _, _ = value.rpartition(".")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        return ""
    try:
        import_module(module)
    except ImportError as error:
        return f" {_not_imported(module, error)}"
    except Exception as error:  # whatever the user's file raises when it is imported
        raise UserError(_not_imported(module, error)) from error
    return ""


def of_failed_import(error: Exception) -> str:
    """One line for an error that a user's file raised while jsonargparse imported it; empty for any other error."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code.co_name == "import_object":  # jsonargparse's, which lets pass what the file raises
            return _not_imported(frame.f_locals["name"].rpartition(".")[0], error)
    return ""


def _not_imported(module: str, error: Exception) -> str:
    return f"{module} cannot be imported: {type(error).__name__}: {error}."


def _union(found: re.Match[str]) -> str:
    kinds = dict.fromkeys(re.findall(r"<class '(?:\w+\.)*(\w+)'>", found[1]))
    expected = " or ".join(_KINDS.get(str(kind), str(kind)) for kind in kinds)
    return f"expected {expected}; got {found[2]}.{_why_not_imported(found[2])}"


_ABOUT_VALUES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] .* Given value: (.*)", _union),
    (
        r"Expected an? <class '(?:\w+\.)*(\w+)'>\. Got value: (.*)",
        lambda m: f"expected {_KINDS.get(m[1], m[1])}; got {m[2]}.",
    ),
    (r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", lambda m: f"expected one of {m[1]}; got {m[2]!r}."),
    (r"Expected a tuple with (\d+) elements\. Got value: (.*)", lambda m: f"expected a list of {m[1]}; got {m[2]}."),
    (r"Not a valid subclass of (\w+)\. Got value: (.*?) Subclass types expect .*", lambda m: _no_part(m[2], m[1])),
    (r"Unexpected import path format: (.*)", lambda m: _no_part(m[1])),
    (r"Expected a dot import path string: (.*)", lambda m: f"there is no part {m[1]!r}. {_how_to_name_a_part()}"),
    (
        r"Import path (\S+) does not correspond to a subclass of (\w+)",
        lambda m: (
            f"{m[1]} is searched on a text, by `dnas language TEXT`; known here are {_known_parts(m[2])}."
            if m[1].endswith(".RecurrentSpace")
            else f"{m[1]} is no {m[2]}; known are {_known_parts(m[2])}."
        ),
    ),
    (
        r"Expected an instantiatable class, but (\S+) is abstract",
        lambda m: f"{m[1]} is abstract: it does not define all methods of its base class.",
    ),
    (r"Unable to load config '([^']*)'.*", lambda m: f"{m[1]!r} is neither a YAML file nor settings such as {{a: 1}}."),
)


# Arguments that are no option of the command.


def _unknown_option(found: re.Match[str], command: str, options: Collection[str]) -> str:
    first = found[1].split()[0].partition("=")[0]
    if not first.startswith("-"):
        return f"unexpected argument {first!r}. See `dnas {command} --help`."
    close = did_you_mean(first, [f"--{option}" for option in options])
    return f"there is no option {first}{close}. See `dnas {command} --help`."


def _unknown_command(found: re.Match[str], command: str, options: Collection[str]) -> str:
    known = re.findall(r"'([^']+)'", found[2])
    return f"there is no command {found[1]!r}{did_you_mean(found[1], known)}; there are {', '.join(known)}."


def _missing(found: re.Match[str], command: str, options: Collection[str]) -> str:
    name = found[1].rpartition(".")[2]
    return f"`dnas {command}` needs {name.upper()}. See `dnas {command} --help`."


_Say = Callable[[re.Match[str], str, Collection[str]], str]
_ABOUT_ARGUMENTS: tuple[tuple[str, _Say], ...] = (
    (r"unrecognized arguments: (.*)", _unknown_option),
    (r"argument COMMAND: invalid choice: '(.+?)' \(choose from (.*)\)", _unknown_command),
    (r"the following arguments are required: ([^\s,]+).*", _missing),
    (r"argument (--\S+): expected .*", lambda m, c, o: f"{m[1]} needs a value. See `dnas {c} --help`."),
)
