"""The folder of licence texts that goes with the bundle."""

import shutil
from pathlib import Path

from contents import Part, UnknownError

_HEADINGS = {
    "python": "Python packages. Sources: the Python Package Index, under name and version.",
    "system": "CPython and shared libraries of Debian 12. Sources: apt-get source PACKAGE=VERSION, there.",
    "go": "Go modules in the WhatsApp library, neonize. Sources: Go's module proxy, under path and version.",
    "web": "Files of the pages. Sources: the npm registry, under name and version; they are here unchanged.",
}
_OPENING = """\
WA Gateway {version} is free software under the GNU General Public License, version 3 or later: see LICENSE.

It is handed on with the works listed here, each under its own licence. The WhatsApp library contains
libsignal, which is under the GPL, version 3; so the whole is. All sources: those of the gateway itself, with
the scripts that made this file, are in the same place this file came from, under the tag v{version}; those of
every other part are where its heading says, in exactly the version that is named. What was compiled into a
part (Rust crates, C libraries) is named in sbom.cdx.json.
"""


def write(folder: Path, version: str, parts: list[Part]) -> None:
    """Make the folder: README.txt, and `KIND/NAME/` with the texts of each part.

    Raises UnknownError for a part without any, unless its licence asks for none (0BSD).
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lines = [_OPENING.format(version=version)]
    for kind, heading in _HEADINGS.items():
        lines += [heading, ""]
        lines += [_listed(folder / kind, part) for part in parts if part.kind == kind]
        lines.append("")
    (folder / "README.txt").write_text("\n".join(lines), "utf-8")


def _listed(folder: Path, part: Part) -> str:
    if not part.texts and part.licence != "0BSD":
        raise UnknownError(f"{part.name} comes without the text of its licence")
    own = folder / part.name
    for text in part.texts:
        if not text.is_file():
            raise UnknownError(f"the licence of {part.name} is not there: {text}")
        own.mkdir(parents=True, exist_ok=True)
        # Two texts of one name lie in folders of their own inside their package.
        name = text.name if not (own / text.name).exists() else f"{text.parent.name}-{text.name}"
        shutil.copyfile(text, own / name)
    return f"  {part.name} {part.version}: {part.licence}"
