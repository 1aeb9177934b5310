"""The pages in a browser: one turns by slider, keys, mouse and finger, without errors or requests,
and one takes the user's own images."""

import hashlib
import json
import shutil
import time

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Chromium and chromedriver are not installed"
)


@pytest.fixture(scope="module")
def started():
    """A browser of 1280 pixels that records what it logs and asks for."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def browser(started, page):
    """The page, opened anew; afterwards nothing must have been logged or asked for."""
    started.get_log("performance")
    started.get(page.as_uri())
    wait(lambda: degrees(started) == "0°" and drawn(started)[0] != drawn(started)[1])
    yield started
    assert started.get_log("browser") == []
    assert asked(started) == [page.as_uri()]


def asked(browser) -> list[str]:
    """The addresses that were asked for since the last call, but those that hold their content."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [e for e in events if e["method"] == "Network.requestWillBeSent"]
    urls = [request["params"]["request"]["url"] for request in requests]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


def wait(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.02)


def drawn(browser) -> list[str]:
    """A hash of the pixels of each panel."""
    script = "return [...document.querySelectorAll('.panel canvas')].map((c) => c.toDataURL())"
    return [hashlib.sha256(url.encode()).hexdigest() for url in browser.execute_script(script)]


def degrees(browser) -> str:
    return text(browser, "#degrees")[0]


def text(browser, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return browser.execute_script(script, selector)


def find(browser, selector: str):
    return browser.find_element("css selector", selector)


def press(browser, key: str) -> None:
    find(browser, "body").send_keys(key)


def shown(content, image: int, angle: int) -> list[str]:
    """What stands below the panels."""
    index = content["angles"].index(angle)
    values = [
        found[key][index]
        for found in content["images"][image]["found"]
        for key in ("consistency", "dice")
    ]
    return ["–" if value is None else f"{value:.3f}" for value in values]


def test_the_slider_turns_pictures_numbers_and_mark(browser, content):
    assert text(browser, ".panel dd") == shown(content, 0, 0)
    before, mark = drawn(browser), find(browser, "#mark line").get_attribute("x1")
    find(browser, "#angle").send_keys("\ue014\ue014\ue014")  # the arrow to the right, three times
    assert degrees(browser) == "90°"
    assert text(browser, ".panel dd") == shown(content, 0, 90)
    assert all(a != b for a, b in zip(before, drawn(browser), strict=True))
    assert float(find(browser, "#mark line").get_attribute("x1")) > float(mark)


def test_keys_turn_and_choose(browser, content):
    press(browser, "\ue012")  # the arrow to the left
    assert degrees(browser) == "330°"
    press(browser, "3")
    wait(lambda: text(browser, ".panel dd") == shown(content, 2, 330))
    chosen = find(browser, "nav [aria-pressed=true]").text
    assert content["images"][2]["id"] in chosen
    before = drawn(browser)
    press(browser, "t")
    assert drawn(browser) != before
    press(browser, " ")
    wait(lambda: degrees(browser) != "330°")  # it plays
    press(browser, " ")
    stopped = degrees(browser)
    time.sleep(0.3)
    assert degrees(browser) == stopped


def test_a_drag_around_the_centre_turns(browser):
    from selenium.webdriver import ActionChains

    canvas = find(browser, ".panel canvas")
    quarter = canvas.size["width"] // 4
    actions = ActionChains(browser, duration=20).move_to_element_with_offset(canvas, quarter, 0)
    actions.click_and_hold().move_by_offset(-quarter, -quarter).release().perform()
    assert degrees(browser) == "90°"  # from the right to the top: counter-clockwise


def test_a_finger_turns_on_a_phone(started, browser):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    started.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        assert started.execute_script("return document.documentElement.scrollWidth") == 390
        script = """const box = document.querySelector(".panel canvas").getBoundingClientRect();
                    return [box.left + box.width / 2, box.top + box.height / 2, box.width]"""
        x, y, width = started.execute_script(script)
        for kind, points in [
            ("touchStart", [{"x": x, "y": y - width / 4}]),
            ("touchMove", [{"x": x - width / 4, "y": y}]),
            ("touchEnd", []),
        ]:
            event = {"type": kind, "touchPoints": points}
            started.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        assert degrees(started) == "90°"  # from the top to the left
    finally:
        started.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        started.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_own_images_are_dropped_and_turn(started, server, two_runs, content, tmp_path):
    started.get_log("browser"), started.get_log("performance")
    images = two_runs[0].parent / "dataset" / "images"
    own = [str(images / f"{image['id']}.png") for image in content["images"][:2]]
    started.get(server)
    script = """const box = document.querySelector(".drop").getBoundingClientRect();
                return {x: box.left + 20, y: box.top + 20}"""
    place = started.execute_script(script)
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "data": {"items": [], "files": own, "dragOperationsMask": 1}}
        started.execute_cdp_cmd("Input.dispatchDragEvent", place | event)
    names = [f"{image['id']}.png" for image in content["images"][:2]]
    wait(lambda: text(started, ".drop li") == names)
    find(started, "form button").click()
    wait(lambda: len(text(started, ".panel dd")) == 4)
    wait(lambda: text(started, "nav b") == names and drawn(started)[0] != drawn(started)[1])
    press(started, "\ue014\ue014\ue014")
    assert degrees(started) == "90°"
    consistencies = shown(content, 0, 90)[::2]
    assert text(started, ".panel dd") == [consistencies[0], "–", consistencies[1], "–"]
    assert not find(started, "#truth").is_displayed()
    assert started.get_log("browser") == []

    find(started, ".back").click()
    wrong = tmp_path / "wrong.png"
    wrong.write_text("no image")
    find(started, "#images").send_keys(str(wrong))
    find(started, "form button").click()
    wait(lambda: text(started, "[role=alert]") != [])
    assert text(started, "[role=alert]")[0].startswith("wrong.png: not an image file")
    assert find(started, "form button").is_enabled()
    assert asked(started) == [f"{server}/"] * 4
