"""Puts the papers into a bundle: the list of its parts (sbom.cdx.json) and their licence texts (licences/).

papers.py COLLECTED BUNDLE    COLLECTED is the list that the spec wrote; the time is SOURCE_DATE_EPOCH
"""

import os
import sys
from pathlib import Path

import licences
import sbom
from contents import Contents, UnknownError

from appliance import __version__
from appliance.engine.library_file import LibraryError, LibraryFile


def main(collected: Path, bundle: Path) -> int:
    try:
        known = LibraryFile.here()
        LibraryFile(bundle / "_internal/neonize" / known.path.name, known.sha256).check()
        parts = Contents(collected, bundle).parts()
        licences.write(bundle / "licences", __version__, parts)
    except (UnknownError, LibraryError) as error:
        print(f"papers.py: {error}", file=sys.stderr)
        return 1
    made_at = int(os.environ["SOURCE_DATE_EPOCH"])
    document = sbom.document("wa-gateway", __version__, "GPL-3.0-or-later", made_at, parts)
    (bundle / "sbom.cdx.json").write_bytes(document)
    print(f"{len(parts)} parts in the bundle")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
