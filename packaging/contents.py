"""What the bundle is made of: the parts that its files came from."""

import hashlib
import importlib.metadata
import json
import os
import re
import site
import subprocess
import sysconfig
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import go_modules
from locked import RUN, TEST, canonicalize_name, pins

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_TEXT = re.compile(r"(licen[cs]e|copying|notice|copyright|patents)", re.IGNORECASE)
_COPYRIGHTS = Path("/usr/share/doc")


class UnknownError(Exception):
    """A file or a licence of which nobody wrote down whose it is."""


@dataclass
class Part:
    """One piece of somebody's work.

    `kind` is where it comes from (python, system, go, web), `licence` an SPDX expression, `texts` its licence
    texts, `archives` the SHA-256 of each archive it may have come from, `files` the SHA-256 of those of its
    files that are files in the bundle, `inside` the CycloneDX components that it declares itself.
    """

    kind: str
    name: str
    version: str
    licence: str
    purl: str
    texts: list[Path] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    inside: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""


class Contents:
    """The files of a bundle, by what PyInstaller collected."""

    def __init__(self, collected: Path, bundle: Path) -> None:
        """`collected` is the JSON list that the spec writes: name, source, kind."""
        self._inside = bundle / "_internal"
        self._known = tomllib.loads((HERE / "licences/known.toml").read_text("utf-8"))
        self._sources = {
            os.path.realpath(source): (name if kind in {"DATA", "BINARY", "EXTENSION"} else "")
            for name, source, kind in json.loads(collected.read_text("utf-8"))
            if source != "-"
        }
        self._owners = {
            os.path.realpath(str(file.locate())): distribution
            for distribution in importlib.metadata.distributions()
            for file in distribution.files or ()
        }

    def parts(self) -> list[Part]:
        """Every part, each once. Raises UnknownError."""
        parts = [*self._python(), *self._system(), *self._web(), *self._go()]
        return sorted(parts, key=lambda part: (part.kind, part.name.lower()))

    def _python(self) -> list[Part]:
        taken: dict[str, list[str]] = defaultdict(list)
        found = {}
        for source, name in self._sources.items():
            if (owner := self._owners.get(source)) is not None:
                found[owner.name] = owner
                taken[owner.name] += [name] if name and source.endswith(".so") else []
        found.pop("wa-gateway", None)
        locked = pins(TEST) | pins(RUN)
        if strangers := {canonicalize_name(name) for name in found} - locked.keys():
            raise UnknownError(f"no lock file names what is in the bundle: {', '.join(sorted(strangers))}")
        return [
            self._distribution(found[name], taken[name], locked[canonicalize_name(name)].archives)
            for name in found
        ]

    def _distribution(
        self, distribution: importlib.metadata.Distribution, files: list[str], archives: tuple[str, ...]
    ) -> Part:
        name = canonicalize_name(distribution.name)
        own = [f for f in distribution.files or () if ".dist-info" in f.parts[0]]
        declared = [f for f in own if f.parent.name == "sboms" and f.suffix == ".json"]
        return Part(
            "python",
            distribution.name,
            distribution.version,
            distribution.metadata.get("License-Expression") or self._licence("python", name),
            f"pkg:pypi/{name}@{distribution.version}",
            [Path(str(f.locate())) for f in own if _TEXT.match(f.name)],
            list(archives),
            self._sums(files),
            [part for f in declared for part in _declared(Path(str(f.locate())))],
        )

    def _system(self) -> list[Part]:
        """Python itself and the shared libraries, by the Debian package they are from."""
        ours = (f"{ROOT}/appliance/", f"{ROOT}/web/")
        by_package: dict[str, list[str]] = defaultdict(list)
        for source, name in self._sources.items():
            if source in self._owners or source.startswith(ours) or name == "base_library.zip":
                continue
            if name or not source.startswith(sysconfig.get_path("stdlib")):
                by_package[_package_of(source)].append(name)
        # Whence come the modules that stand in archives inside the bundle, too many to ask for one by one.
        for module in (os, site):
            by_package[_package_of(str(module.__file__))] += []
        return [self._package(package, names) for package, names in by_package.items()]

    def _package(self, package: str, files: list[str]) -> Part:
        asked = "${source:Package}\t${Version}\t${Architecture}"
        source, version, architecture = _ran("dpkg-query", "-W", f"-f={asked}", package).split("\t")
        purl = f"pkg:deb/debian/{package}@{version}?arch={architecture}&distro=bookworm"
        copyright_file = _COPYRIGHTS / package / "copyright"
        return Part(
            "system",
            package,
            version,
            self._licence("system", source),
            purl,
            [copyright_file],
            files=self._sums(files),
            note=f"Debian source package {source}",
        )

    def _web(self) -> list[Part]:
        parts: dict[str, Part] = {}
        static = ROOT / "web/static"
        for line in (static / "VERSIONS.txt").read_text("utf-8").splitlines():
            if line.startswith("#"):
                continue
            name, version, licence, sha256, file = line.split(maxsplit=4)
            part = parts.setdefault(name, Part("web", name, version, licence, f"pkg:npm/{name}@{version}"))
            part.files[f"web/static/{file}"] = sha256
            if _TEXT.search(file):
                part.texts.append(static / file)
        return list(parts.values())

    def _go(self) -> list[Part]:
        (library,) = self._inside.glob("neonize/neonize-linux-*.so")
        go, modules = go_modules.read(library)
        listed = [go_modules.Module("std", go, ""), *modules]
        return [
            Part(
                "go",
                module.path,
                module.version,
                self._licence("go", module.path),
                f"pkg:golang/{module.path}@{module.version}",
                sorted(file for file in (HERE / "licences/go" / module.path).iterdir() if file.is_file()),
                note=f"sources {module.sum}" if module.sum else "Go's standard library and runtime",
            )
            for module in listed
        ]

    def _licence(self, kind: str, name: str) -> str:
        try:
            return str(self._known[kind][name])
        except KeyError:
            raise UnknownError(
                f"nobody wrote down the licence of {name} in packaging/licences/known.toml, [{kind}]"
            ) from None

    def _sums(self, names: list[str]) -> dict[str, str]:
        return {
            f"_internal/{name}": hashlib.sha256((self._inside / name).read_bytes()).hexdigest()
            for name in sorted(names)
            if name
        }


def _declared(sbom: Path) -> list[dict[str, Any]]:
    """What a package itself says is built into it (PEP 770), without references to its own document."""
    kept = ("type", "name", "version", "licenses", "purl", "hashes")
    document = json.loads(sbom.read_text("utf-8"))
    return [{key: part[key] for key in kept if key in part} for part in document.get("components", [])]


def _package_of(file: str) -> str:
    # With /usr merged dpkg knows a file by one of its two names.
    for name in (file, file.removeprefix("/usr"), f"/usr{file}"):
        found = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False).stdout
        if found:
            return found.partition(":")[0]
    raise UnknownError(f"no Debian package has {file}; build on Debian, with Debian's own Python")


def _ran(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
