"""The page of a report: template, style and script in one file, pictures and values inside."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template

import numpy as np
from PIL import Image as Picture

from ksdiff.images.colours import Stretch
from ksdiff.images.registration import Registration
from ksdiff.inference.report.charts import arrows, histogram
from ksdiff.inference.report.gather import Gathered, Spectra, View
from ksdiff.inference.report.judge import FUSED, Judged
from ksdiff.inference.report.told import Decision

_MOST = 14_000_000  # bytes of pictures and spectra
_QUALITIES = (90, 75, 50, 25)  # of JPEG: the first with which the report is small enough
_NO_DATA = (203, 208, 214)  # colour
_BEST_HIGH = ("HQNR", "QNR")


@dataclass(frozen=True)
class Content:
    """The content of a report, whatever its layout."""

    title: str
    facts: Sequence[tuple[str, str]]  # names and values: files, sizes, grid
    decisions: Sequence[Decision]
    notes: Sequence[str]  # what was guessed about the inputs
    provenance: Mapping[str, object] | None
    bands: Sequence[tuple[str, float | None]] = ()  # names and wavelengths in nm
    ratio: int = 4
    method: str = "KSDiff"  # of the fused image
    registration: Registration = field(default_factory=Registration)
    gathered: Gathered | None = None  # None: no pixel to show
    judged: Judged | None = None
    problem: str | None = None  # why there is nothing to see


def page(content: Content) -> str:
    """The report as HTML, under 15 MB."""
    asset = files(__package__)
    gathered = content.gathered
    seen = gathered is not None
    return Template((asset / "page.html").read_text("utf-8")).substitute(
        title=_text(content.title),
        style=(asset / "page.css").read_text("utf-8"),
        script=(asset / "page.js").read_text("utf-8") if seen else "",
        data="null" if gathered is None else _data(content, gathered),
        problem=f'<p class="problem" role="alert">{_text(content.problem)}</p>'
        if content.problem
        else "",
        viewer=(asset / "viewer.html").read_text("utf-8") if seen else "",
        indexes=_indexes(content) if seen else "",
        histograms="" if gathered is None else _histograms(content, gathered),
        shifts="" if gathered is None else _shifts(content, gathered),
        facts=_facts(content.facts),
        decisions=_decisions(content),
        provenance=_provenance(content.provenance),
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _data(content: Content, gathered: Gathered) -> str:
    """Data of the page's script as JSON, with the best pictures that fit."""
    views = gathered.views
    images = [view.images() for view in views]
    colour, grey = Stretch.of(images[0]["ms"]), Stretch.of(images[0]["pan"])
    stretches = {"pan": grey, "ms": colour, "fused": colour}
    shown = [{n: _shown(stretches[n], image) for n, image in each.items()} for each in images]
    parts = [_view(view) for view in views]
    data = {
        "shape": [views[0].area[0].stop, views[0].area[1].stop],
        "ratio": content.ratio,
        "bands": [{"name": name, "wavelength": at} for name, at in content.bands],
        "views": parts,
    }
    for quality in _QUALITIES:
        for view, pictures in zip(parts, shown, strict=True):
            view.update({name: _jpeg(picture, quality) for name, picture in pictures.items()})
        text = json.dumps(data, separators=(",", ":"))
        if len(text) <= _MOST:
            break
    # Nothing inside may end the element that holds it.
    return text.replace("<", "\\u003c")


def _view(view: View) -> dict:
    rows, columns = view.area
    return {
        "top": rows.start,
        "left": columns.start,
        "height": rows.stop - rows.start,
        "width": columns.stop - columns.start,
        "pixels": list(view.size),
        "spectra": _spectra(view.spectra),
    }


def _shown(stretch: Stretch, image: np.ndarray) -> np.ndarray:
    """An image [C, h, w] in DN as a picture [h, w, 3] in bytes."""
    shown = np.nan_to_num(255 * stretch.apply(image)).round().astype(np.uint8)
    shown = np.broadcast_to(shown, (3, *shown.shape[1:])).transpose(1, 2, 0).copy()
    shown[~np.isfinite(image).all(0)] = _NO_DATA
    return shown


def _jpeg(shown: np.ndarray, quality: int) -> str:
    out = io.BytesIO()
    # Halved chroma would blur what is to be judged.
    Picture.fromarray(shown).save(out, "JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _spectra(spectra: Spectra) -> dict:
    """Both cubes in bytes: 0 for no data, 1 to 255 from a band's least value to its largest."""
    both = np.stack((spectra.before, spectra.after))
    flat = both.swapaxes(0, 1).reshape(both.shape[1], -1)
    low, high = (np.nan_to_num(find.reduce(flat, 1)) for find in (np.fmin, np.fmax))
    span = np.where(high > low, high - low, 1.0)
    scaled = 1 + 254 * (both - low[:, None, None]) / span[:, None, None]
    cubes = np.where(np.isfinite(both), np.nan_to_num(scaled).round(), 0).astype(np.uint8)
    before, after = (base64.b64encode(cube.tobytes()).decode() for cube in cubes)
    return {
        "rows": spectra.rows.tolist(),
        "columns": spectra.columns.tolist(),
        "low": low.tolist(),
        "high": (low + span).tolist(),
        "before": before,
        "after": after,
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], caption: str = "") -> str:
    """The first cell of a row is its head; cells are HTML."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = ""
    for first, *others in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        body += f'<tr><th scope="row">{first}</th>{cells}</tr>'
    caption = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="Table"><table>{caption}<thead>'
        f"<tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    return f"<dl>{items}</dl>"


def _decisions(content: Content) -> str:
    rows = [[_text(part) for part in decision] for decision in content.decisions]
    table = _table(("", "value", "why"), rows) if rows else ""
    text = f'<div class="decisions">{table}</div>'
    if content.notes:
        text += f"<ul>{''.join(f'<li>{_text(note)}</li>' for note in content.notes)}</ul>"
    return text


def _provenance(said: Mapping[str, object] | None) -> str:
    if said is None:
        return "<p>The file does not say how it was made.</p>"
    text = json.dumps(said, indent=2, sort_keys=True, ensure_ascii=False)
    return f'<pre tabindex="0" aria-label="Provenance as JSON">{_text(text)}</pre>'


def _indexes(content: Content) -> str:
    found = content.judged
    if found is None:
        reason = (
            "they compare bands, and the image has only one"
            if len(content.bands) < 2
            else "no window of 64 x 64 PAN pixels has data everywhere"
        )
        return f"<h2>Indexes without truth</h2><p>There are none: {reason}.</p>"
    top, left, height, width = found.window
    where = (
        "Of the whole scene."
        if found.whole
        else f"Of the {height} x {width} PAN pixels at row {top}, column {left}: the part whose "
        "means and deviations are most like the scene's."
    )
    names = list(found.rows[0][1])
    best = {
        name: (max if name in _BEST_HIGH else min)(row[1][name] for row in found.rows)
        for name in names
    }
    rows = []
    for method, values in found.rows:
        cells = [
            f"<strong>{values[name]:.4f}</strong>"
            if values[name] == best[name]
            else f"{values[name]:.4f}"
            for name in names
        ]
        label = f"<mark>{_text(content.method)}</mark>" if method == FUSED else _text(method)
        rows.append([label, *cells])
    heads = [f"{name} {'↑' if name in _BEST_HIGH else '↓'}" for name in names]
    text = (
        "All methods are given the same PAN and MS, as they were registered, and the MTF that the "
        "scene shows. HQNR and QNR are better when high, the others when low. exp is the MS "
        "interpolated. Without truth, indexes reward similarity to the inputs, and exp, which "
        "adds no detail, is most similar: look at the pictures, too."
    )
    return f"<h2>Indexes without truth</h2><p>{where} {text}</p>{_table(('method', *heads), rows)}"


def _histograms(content: Content, gathered: Gathered) -> str:
    figures = "".join(
        f"<figure>{histogram(_text(name), of)}<figcaption>{_text(_named(name, at))}</figcaption>"
        "</figure>"
        for (name, at), of in zip(content.bands, gathered.histograms, strict=True)
    )
    rows = []
    for (name, _), of in zip(content.bands, gathered.histograms, strict=True):
        (mean, spread), (fused_mean, fused_spread) = of.moments
        rows.append([_text(name), *(f"{x:.5g}" for x in (mean, fused_mean, spread, fused_spread))])
    heads = ("band", "mean, MS", "mean, fused", "deviation, MS", "deviation, fused")
    text = (
        'Shares of pixels: <b class="before">MS, dashed</b>, before, and <b class="after">fused'
        "</b> after. The first and last bins take what lies beyond."
    )
    return (
        f'<h2>Histograms</h2><p class="key">{text}</p><div class="charts">{figures}</div>'
        f"{_table(heads, rows)}"
    )


def _named(name: str, wavelength: float | None) -> str:
    return name if wavelength is None else f"{name}, {wavelength:.0f} nm"


def _shifts(content: Content, gathered: Gathered) -> str:
    found = content.registration
    if not any(each.trusted for each in found.windows):
        return ""
    rows, columns = gathered.views[0].area
    (dy, dx), count = found.shift, len(found.windows)
    seen = sum(each.trusted for each in found.windows)
    did = "PAN was moved back." if found.move is not None else "PAN was not moved."
    return (
        f"<h2>Place of PAN</h2><figure>{arrows((rows.stop, columns.stop), found)}<figcaption>"
        f"Offset of PAN's content from the MS in the {seen} of {count} windows that show it; "
        f"median {dy:+.2f} rows (down), {dx:+.2f} columns (right). {did} Arrows are longer than "
        "the shifts, all by the same factor; dots are windows that show none.</figcaption></figure>"
    )
