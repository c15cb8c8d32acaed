"""The site, from docs/, examples/ and the docstrings: `python website/build.py` writes build/site/html.

The pages of docs/ are written for GitHub and for the site. What differs is prepared here: links to files outside docs/,
equations (```math becomes MathML, which browsers draw by themselves), and pages that are made of other files. Then
zensical builds with warnings as errors, and nothing that it wrote may load anything from the network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from latex2mathml.converter import convert

import dnas
from dnas.cli.commands import COMMANDS, PLAIN_COMMANDS
from dnas.cli.parser import build_parser, load

ROOT = Path(__file__).parent.parent
SITE = ROOT / "build" / "site"
PAGES, HTML = SITE / "pages", SITE / "html"
# Files of the root that are pages too.
ALSO = {"SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# Where the public names of a room are explained; rooms that belong together share a page.
API = {
    "searching": ("search", "Search"),
    "method": ("method", "Parts of a method"),
    "core": ("choices", "Choices, cells, architectures"),
    "task": ("tasks", "Tasks and metrics"),
    "training": ("training", "Retrain, evaluate, compare"),
    "shipping": ("shipping", "Save and export"),
    "shrinking": ("shrinking", "Shrink"),
    "cost": ("budgets", "Budgets"),
    "space": ("spaces", "Search spaces"),
    "finalists": ("search", "Search"),
    "table": ("tables", "Benchmark tables"),
    "system": ("system", "Display and errors"),
    "data": ("data", "Data"),
    "language": ("language", "Language models"),
    "testing": ("testing", "Contracts for parts of your own"),
    "formats": ("formats", "Formats of other tools"),
}
# Attributes by which a page makes a browser load something.
LOADS = re.compile(r"""<(?:script|img|iframe|link|source)\b[^>]*?\b(?:src|href)=["']?(https?:)?//""")


def main() -> None:
    """Prepare the pages, build the site, and check that it loads nothing from elsewhere."""
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES)
    for name, page in ALSO.items():
        (PAGES / page).write_text((ROOT / name).read_text(encoding="utf-8").replace("](docs/", "]("), encoding="utf-8")
    for page in PAGES.glob("*.md"):
        page.write_text(prepared(page.read_text(encoding="utf-8")), encoding="utf-8")
    write_examples()
    write_api()
    write_commands()
    shutil.copy(ROOT / "website" / "style.css", PAGES)
    (SITE / "mkdocs.yml").write_text(settings(), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "zensical",
        "build",
        "--strict",
        "--clean",
        "--config-file",
        str(SITE / "mkdocs.yml"),
    ]
    if subprocess.run(command, check=False).returncode:
        sys.exit("The site has warnings, which count as errors: see above.")
    if loaded := sorted(loaded_from_elsewhere()):
        sys.exit("These pages load something from the network:\n" + "\n".join(loaded))
    print(f"The site: {HTML / 'index.html'} ({len(list(HTML.rglob('*.html')))} pages)")


def settings() -> str:
    """mkdocs.yml without entries of the navigation whose page is not written yet."""
    lines = (ROOT / "website" / "mkdocs.yml").read_text(encoding="utf-8").splitlines()
    named = [(line, re.fullmatch(r" +- (?:.*: )?([\w-]+\.md)", line)) for line in lines]
    return "\n".join(line for line, page in named if page is None or (PAGES / page[1]).exists()) + "\n"


def prepared(text: str) -> str:
    """A page as the site has it: equations drawn, and links to files outside docs/ as links to their pages."""
    text = with_blank_lines(re.sub(r"```math\n(.*?)```", lambda found: equation(found[1]), text, flags=re.DOTALL))
    for name, page in ALSO.items():
        text = text.replace(f"](../{name}", f"]({page}")
    return re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](examples/\1.md)", text)


def with_blank_lines(text: str) -> str:
    """A blank line before each list and table that follows a line of text: GitHub needs none, Python-Markdown does."""
    lines: list[str] = []
    in_code = in_list = False
    for line in text.split("\n"):
        in_code ^= line.startswith("```")
        begins = re.match(r"(- |\d+\. |\|)", line) is not None
        after_text = bool(lines) and bool(lines[-1].strip()) and not re.match(r"- |\d+\. |  |\||#", lines[-1])
        if begins and after_text and not in_code and not in_list:
            lines.append("")
        in_list = begins or (in_list and bool(line.strip()))
        lines.append(line)
    return "\n".join(lines)


def equation(latex: str) -> str:
    """An equation as MathML; the LaTeX stays readable for those who copy it."""
    return f'<div class="equation">{convert(latex.strip(), display="block")}</div>'


def write_examples() -> None:
    """A page for each example: its first sentence, and its code."""
    folder = PAGES / "examples"
    folder.mkdir()
    listed = []
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        summary = code.split('"""')[1].split("\n")[0]
        listed.append(f"- [{path.stem}]({path.stem}.md): {summary}")
        text = f'# {path.stem}\n{summary}\n\n```python title="examples/{path.name}"\n{code}```\n'
        (folder / f"{path.stem}.md").write_text(text, encoding="utf-8")
    text = "# Examples\nEach is a file in `examples/` that runs as it is, and is run by the tests.\n\n" + "\n".join(
        listed
    )
    (folder / "index.md").write_text(text + "\n", encoding="utf-8")


def write_api() -> None:
    """Pages of the public names, explained by their docstrings."""
    folder = PAGES / "api"
    folder.mkdir()
    pages: dict[tuple[str, str], list[str]] = {}
    for name, target in public_names():
        page = API[target.split(".")[1]]
        pages.setdefault(page, []).append(
            f"::: {target}\n    options:\n      heading: {name}\n      toc_label: {name}\n"
        )
    listed = []
    for (page, title), entries in pages.items():
        (folder / f"{page}.md").write_text(f"# {title}\n\n" + "\n".join(entries), encoding="utf-8")
        names = re.findall(r"heading: (\S+)", "".join(entries))
        listed.append(f"- [{title}]({page}.md): " + ", ".join(f"`{name}`" for name in names))
    text = "# API\nAll public names, from their docstrings. `import dnas` needs torch and numpy alone.\n\n"
    (folder / "index.md").write_text(text + "\n".join(listed) + "\n", encoding="utf-8")


def public_names() -> Iterator[tuple[str, str]]:
    """Each public name as it is imported, and where its docstring is."""
    for module in ("dnas", "dnas.data", "dnas.language", "dnas.formats", "dnas.table", "dnas.testing"):
        owner = dnas if module == "dnas" else import_module(module)
        for name in sorted(owner.__all__, key=lambda name: (name[0].isupper(), name)):  # functions first
            thing = getattr(owner, name)
            known = module != "dnas" and name in dnas.__all__
            if getattr(thing, "__module__", "").startswith("dnas.") and hasattr(thing, "__qualname__") and not known:
                yield f"{module}.{name}", f"{thing.__module__}.{thing.__qualname__}"


def write_commands() -> None:
    """What `COMMAND --help` says, of each command."""
    parts = ["# Commands\nThis is what `dnas COMMAND --help` prints. [Completion](start.md) fills in names.\n"]
    for name, summary in COMMANDS.items():
        said = build_parser(load(name), summary).format_help()
        said = "".join(letter for letter in said if letter.isprintable() or letter == "\n")
        parts.append(f"## dnas {name}\n\n```text\n{said}```\n")
    parts += [f"## dnas {name}\n{summary}\n" for name, summary in PLAIN_COMMANDS.items()]
    (PAGES / "commands.md").write_text("\n".join(parts), encoding="utf-8")


def loaded_from_elsewhere() -> Iterator[str]:
    """Pages and stylesheets that would ask another host for something."""
    for path in HTML.rglob("*.html"):
        if found := LOADS.search(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(HTML)}: {found[0]}"
    for path in HTML.rglob("*.css"):
        if found := re.search(r"url\([\"']?(?:https?:)?//[^)]*", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(HTML)}: {found[0]}"


if __name__ == "__main__":
    main()
