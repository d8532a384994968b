"""The hooks of mkdocs.yml: pages from outside of docs/, links to source, and formulas as MathML.

Markdown stays as a code host shows it: README and docs/*.md link to each other and to source files by their
paths in the repository, and write formulas as $`…`$ and as blocks of ```math. Here a link gets the address of
its page on the site, a source file that is linked to becomes a page, and a formula becomes MathML, which
browsers draw without any script.
"""

import html
import os
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/five_minutes.ipynb": "five-minutes.md",
}
"""Pages that do not lie in docs/: path in the repository, path on the site."""

LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".cff": "yaml"}
LINK = re.compile(r'(?<=\]\()[^)\s]+(?=\))|(?<=src=")[^"]+(?=")')
INLINE = re.compile(r"\$`(.+?)`\$", re.DOTALL)
BLOCK = re.compile(r"^([ ]*)```math\n(.*?)^[ ]*```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ .*", re.MULTILINE)
CODE = re.compile(r"^[ ]*(```+).*?^[ ]*\1$", re.DOTALL | re.MULTILINE)


@dataclass
class _Site:
    """What one build knows."""

    origins: dict[str, str] = field(default_factory=dict)
    """Path on the site: path in the repository."""
    formulas: list[str] = field(default_factory=list)

    def address(self, path: str) -> str | None:
        """The path on the site of a path in the repository."""
        return next((there for there, here in self.origins.items() if here == path), None)


_SITE = _Site()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of docs/, and a page for every source file that a page links to."""
    _SITE.origins = {file.src_uri: f"docs/{file.src_uri}" for file in files} | {
        there: here for here, there in OUTSIDE.items()
    }
    for here, there in OUTSIDE.items():
        files.append(File.generated(config, there, content=_text(here)))
    for path in sorted(_linked_sources()):
        there = f"source/{path}.md"
        _SITE.origins[there] = path
        files.append(File.generated(config, there, content=_source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Readdress links, and put a word in place of every formula, which Markdown would misread."""
    there = page.file.src_uri
    here = _SITE.origins[there]
    if there.startswith("source/"):
        return markdown
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    text = HEADING.sub(lambda found: INLINE.sub(lambda formula: _plain(formula[1]), found[0]), markdown)
    text = BLOCK.sub(lambda found: f"{found[1]}{_formula(found[2], 'block')}", text)
    text = CODE.sub(keep, text)
    text = LINK.sub(lambda found: _readdressed(found[0], here, there), text)
    text = INLINE.sub(lambda found: _formula(found[1], "inline"), text)
    return re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], text)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the formulas in place of their words."""
    return re.sub(r"FORMULA(\d+)END", lambda found: _SITE.formulas[int(found[1])], content)


def _formula(latex: str, display: str) -> str:
    """The word that stands for a formula.

    Raises:
        PluginError: it has a command that cannot be converted.
    """
    # The one command of these pages that the converter does not know.
    drawn = convert(" ".join(latex.split()).replace(r"\arg", r"\mathrm{arg}"), display=display)
    if "\\" in drawn:
        raise PluginError(f"the formula {latex!r} has a command that latex2mathml does not know")
    # A formula wider than the page scrolls.
    wide = f'<span style="display: block; overflow-x: auto">{drawn}</span>'
    _SITE.formulas.append(wide if display == "block" else drawn)
    return f"FORMULA{len(_SITE.formulas) - 1}END"


def _plain(latex: str) -> str:
    """A formula in a heading, which stands in menus, the address and the search index too, as characters."""
    text = re.sub(r"\\mathrm\{(\w+)\}", r"\1", latex).replace(r"\cdot", "·")
    if "\\" in text:
        raise PluginError(f"the formula {latex!r} stands in a heading and cannot be written in characters")
    return text


def _text(path: str) -> str:
    if not path.endswith(".ipynb"):
        return (PROJECT / path).read_text(encoding="utf-8")
    cells = nbformat.read(PROJECT / path, as_version=4).cells
    parts = [cell.source if cell.cell_type == "markdown" else _fenced(cell.source) for cell in cells]
    return "\n\n".join(parts) + f"\n\nThe notebook: [{path}]({posixpath.basename(path)}).\n"


def _fenced(cell: str) -> str:
    """A code cell; one for the shell begins with %%bash."""
    magic, _, rest = cell.partition("\n")
    return f"```bash\n{rest}\n```" if magic == "%%bash" else f"```python\n{cell}\n```"


def _linked_sources() -> set[str]:
    """Files of the repository that pages link to and that are no pages themselves; for a folder all in it."""
    found = set()
    for here in _SITE.origins.values():
        if not here.endswith(".md"):
            continue
        for link in LINK.findall(CODE.sub("", _text(here))):
            path = _target(link, here)
            if path is None or path in _SITE.origins.values():
                continue
            if (PROJECT / path).is_dir():
                found |= {path} | {
                    str(file.relative_to(PROJECT)) for file in _listed(PROJECT / path) if _is_text(file)
                }
            elif _is_text(PROJECT / path):
                found.add(path)
    return found - set(OUTSIDE)


def _listed(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts]


def _is_text(path: Path) -> bool:
    return path.is_file() and (path.suffix in LANGUAGES or path.name == "LICENSE")


def _source_page(path: str) -> str:
    if (PROJECT / path).is_dir():
        names = [str(file.relative_to(PROJECT / path)) for file in _listed(PROJECT / path) if _is_text(file)]
        folder = posixpath.basename(path)
        return f"# {path}/\n\n" + "\n".join(f"- [{name}]({folder}/{name}.md)" for name in names) + "\n"
    text = (PROJECT / path).read_text(encoding="utf-8")
    # Longer than any fence in it.
    fence = "`" * 8
    return f"# {path}\n\n{fence}{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}\n{fence}\n"


def _target(link: str, here: str) -> str | None:
    """The path in the repository that a link on the page `here` leads to; None if it leads elsewhere."""
    path = link.partition("#")[0]
    if not path or re.match(r"[a-z]+:", path):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), path))


def _readdressed(link: str, here: str, there: str) -> str:
    target = _target(link, here)
    address = target and _SITE.address(target)
    if not address:
        # Not on the site: left as it is, for mkdocs to complain of.
        return link
    anchor = link.partition("#")[1] + link.partition("#")[2]
    return html.escape(os.path.relpath(address, posixpath.dirname(there) or ".")) + anchor
