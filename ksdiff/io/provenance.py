"""How an image was made, in tags of its file."""

from __future__ import annotations

import json
from collections.abc import Mapping

import ksdiff

TAG = "KSDIFF_PROVENANCE"


def provenance(inputs: Mapping[str, object], options: Mapping[str, object], **more: object) -> dict:
    """Tags that say what made an image, and from what: no time, so the same call gives the same.

    Args:
        inputs: file names by role.
        options: that of the call.
        more: what else made the image, for example its weights.

    Returns:
        TIFFTAG_SOFTWARE, and KSDIFF_PROVENANCE as JSON.
    """
    software = f"ksdiff {ksdiff.__version__}"
    said = {"software": software, "inputs": dict(inputs), **more, "options": dict(options)}
    return {"TIFFTAG_SOFTWARE": software, TAG: json.dumps(said, default=str, sort_keys=True)}


def said_of(tags: Mapping[str, str]) -> dict | None:
    """What `provenance` wrote into a file, from its tags; None where there is nothing of it."""
    try:
        said = json.loads(tags.get(TAG, ""))
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
