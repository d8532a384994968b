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
HEADING = re.compile(r"^#+ .*", re.MULTILINE)
INLINE = re.compile(r"\$`(.+?)`\$", re.DOTALL)
CODE = re.compile(r"^[ ]*(?P<fence>```+).*?^[ ]*(?P=fence)$", re.DOTALL | re.MULTILINE)
# What Markdown makes of formulas.
DRAWN_INLINE = re.compile(r"\$<code>(.+?)</code>\$", re.DOTALL)
DRAWN_BLOCK = re.compile(r'<pre class="math"><code>(.+?)</code></pre>', re.DOTALL)

_ORIGINS: dict[str, str] = {}
"""Of one build, path on the site: path in the repository."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of docs/, and a page for every source file that a page links to."""
    _ORIGINS.clear()
    _ORIGINS.update({file.src_uri: f"docs/{file.src_uri}" for file in files})
    for here, there in OUTSIDE.items():
        _ORIGINS[there] = here
        files.append(File.generated(config, there, content=_text(here)))
    for path in sorted(_linked_sources()):
        there = f"source/{path}.md"
        _ORIGINS[there] = path
        files.append(File.generated(config, there, content=_source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Readdress links outside of code, and write the formulas of headings in characters."""
    there = page.file.src_uri
    here = _ORIGINS[there]
    if there.startswith("source/"):
        return markdown
    text = HEADING.sub(lambda found: INLINE.sub(lambda formula: _plain(formula[1]), found[0]), markdown)

    def readdressed(found: re.Match[str]) -> str:
        return found[0] if found["fence"] else _readdressed(found[0], here, there)

    return re.sub(f"{CODE.pattern}|{LINK.pattern}", readdressed, text, flags=CODE.flags)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Draw the formulas."""
    text = DRAWN_BLOCK.sub(lambda found: _formula(found[1], "block"), content)
    return DRAWN_INLINE.sub(lambda found: _formula(found[1], "inline"), text)


def _formula(code: str, display: str) -> str:
    """A formula as MathML, from what Markdown made of it.

    Raises:
        PluginError: it has a command that cannot be converted.
    """
    latex = html.unescape(code)
    # The one command of these pages that the converter does not know.
    drawn = convert(" ".join(latex.split()).replace(r"\arg", r"\mathrm{arg}"), display=display)
    if "\\" in drawn:
        raise PluginError(f"the formula {latex!r} has a command that latex2mathml does not know")
    # A formula wider than the page scrolls.
    wide = f'<p><span style="display: block; overflow-x: auto">{drawn}</span></p>'
    return wide if display == "block" else drawn


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
    for here in _ORIGINS.values():
        if not here.endswith(".md"):
            continue
        for link in LINK.findall(CODE.sub("", _text(here))):
            path = _target(link, here)
            if path is None or path in _ORIGINS.values():
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
    address = target and next((page for page, path in _ORIGINS.items() if path == target), None)
    if not address:
        # Not on the site: left as it is, for mkdocs to complain of.
        return link
    anchor = link.partition("#")[1] + link.partition("#")[2]
    return html.escape(os.path.relpath(address, posixpath.dirname(there) or ".")) + anchor
