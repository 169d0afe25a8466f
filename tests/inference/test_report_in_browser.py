"""A report in headless Chromium, used by mouse, fingers and keys."""

import pytest

from ksdiff import Sharpener
from ksdiff.inference.report import gather, judge
from ksdiff.io.geotiff import write_scene
from tests.support.browser import chromium

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

# Luminance contrast of every text with the ground behind it, by WCAG's formula.
CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const level = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * level(r) + 0.7152 * level(g) + 0.0722 * level(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.7) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !node.checkVisibility() || ["SCRIPT", "NOSCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = rgb(node instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory, scene, quick):
    folder = tmp_path_factory.mktemp("page")
    write_scene(folder, "a", *scene[:2], descriptions=("blue", "green", "red", "nir"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "_OVERVIEW", 200)
        patch.setattr(gather, "_DETAIL", 64)
        patch.setattr(judge, "_SIDES", (64,))
        names = (folder / name for name in ("a_pan.tif", "a_ms.tif", "a.tif"))
        Sharpener(quick).sharpen_files(*names, report=folder / "a.html")
    return folder / "a.html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser, report):
    """Open the report in a window of some size; what it complains of, and asks for, fails."""
    problems, asked, contexts = [], [], []

    def complain(message):
        if "getImageData" not in message.text:  # what tests read is slow, which does not matter
            problems.append(message.text)

    def open_page(size, **options):
        contexts.append(browser.new_context(viewport=size, offline=True, **options))
        page = contexts[-1].new_page()
        page.on("console", complain)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def settle(page) -> None:
    """Wait until pictures are decoded and drawn."""
    page.wait_for_load_state("load")
    page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 150))")


def drawn(page, canvas: str, share: float) -> list[int]:
    """Pixels of a patch of a canvas, at a share of its width and a third of its height."""
    settle(page)
    return page.evaluate(
        """([name, share]) => {
          const canvas = document.getElementById(name);
          const [x, y] = [canvas.width * share, canvas.height / 3];
          return [...canvas.getContext("2d").getImageData(x, y, 24, 24).data];
        }""",
        [canvas, share],
    )


def where(page) -> str:
    return page.locator("#where").inner_text()


def test_swiping_by_the_mouse_shows_ms_left_and_fused_right(opened):
    page = opened(WIDE)
    box = page.locator("#swiped").bounding_box()
    y = box["y"] + box["height"] / 2
    fused = drawn(page, "swiped", 0.6)
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, y, steps=3)
    page.mouse.up()
    ms = drawn(page, "swiped", 0.6)
    assert ms != fused
    assert page.locator("#divider").input_value() == "900"
    page.locator("#divider").fill("100")
    assert drawn(page, "swiped", 0.6) == fused


def test_wheel_drag_and_click_zoom_move_and_pick(opened):
    page = opened(WIDE)
    box = page.locator("#swiped").bounding_box()
    before, pan = where(page), drawn(page, "pan", 0.5)
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    page.mouse.wheel(0, -600)
    assert drawn(page, "pan", 0.5) != pan
    zoomed = where(page)
    assert zoomed != before
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=3)
    page.mouse.up()
    settle(page)
    moved = where(page)
    assert moved.rpartition(",")[2] == zoomed.rpartition(",")[2]
    assert moved != zoomed
    picked = page.locator("#picked").inner_text()
    page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    assert page.locator("#picked").inner_text() != picked
    assert page.locator("#values tbody tr").count() == 4
    assert page.locator("#spectrum svg circle").count() == 4


def test_keys_do_all_that_the_mouse_does(opened):
    page = opened(WIDE)
    page.locator("[data-do=in]").focus()
    canvas = page.locator("#swiped")
    for _ in range(12):  # by tabbing alone
        if page.evaluate("document.activeElement.id") == "swiped":
            break
        page.keyboard.press("Tab")
    first = where(page)
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert where(page) != first
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator("#divider").input_value() == "525"
    picked = page.locator("#picked").inner_text()
    page.keyboard.press("Enter")
    assert page.locator("#picked").inner_text() != picked
    page.keyboard.press("0")
    settle(page)
    assert where(page) == first
    assert canvas.get_attribute("aria-label")
    page.get_by_role("button", name="Part 1").press("Enter")
    settle(page)
    assert where(page) != first


def test_a_phone_shows_everything_in_its_width(opened):
    page = opened(PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for button in page.get_by_role("button").all():
        assert button.bounding_box()["height"] >= 40
    picked = page.locator("#picked").inner_text()
    box = page.locator("#swiped").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.6)
    assert page.locator("#picked").inner_text() != picked


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_and_pictures_have_words(opened, scheme):
    page = opened(WIDE, color_scheme=scheme)
    least, text = page.evaluate(CONTRAST)[0]
    assert least >= 4.5, text
    for picture in page.locator("svg, canvas").all():
        assert picture.get_attribute("aria-label")
