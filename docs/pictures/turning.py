"""Makes docs/images/turning.webp, the first picture of the README, from a page of `polyp view`.

    polyp train model=unet_small data.image_size=128 trainer.max_epochs=10 'name=plain U-Net' \\
        hydra.run.dir=outputs/plain
    polyp train model=p4unet_small data.image_size=128 trainer.max_epochs=10 'name=p4 U-Net' \\
        hydra.run.dir=outputs/p4
    polyp view runs=[outputs/p4,outputs/plain] output=outputs/viewer.html
    python docs/pictures/turning.py outputs/viewer.html docs/images/turning.webp

Needs chromium, chromedriver and selenium (of the extra `dev`).
"""

import io
import shutil
import sys
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

IMAGE = 3  # the most inconsistent one
EVERY = 2  # every other angle of the page
MILLISECONDS = 120  # per picture


def frames(page: Path) -> list[Image.Image]:
    """The page's main part, at each angle of a full turn."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in ("--headless=new", "--no-sandbox", "--window-size=1180,1000"):
        options.add_argument(option)
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver") or ""))
    try:
        browser.get(page.resolve().as_uri())
        browser.execute_script("document.querySelector('.keys').remove()")
        browser.execute_async_script(f"choose({IMAGE}).then(arguments[0])")
        angles = browser.execute_script("return angles.length")
        main = browser.find_element("css selector", "main")
        pictures = []
        for index in range(0, angles, EVERY):
            browser.execute_script(f"turnTo({index})")
            time.sleep(0.05)
            pictures.append(Image.open(io.BytesIO(main.screenshot_as_png)).convert("RGB"))
        return pictures
    finally:
        browser.quit()


if __name__ == "__main__":
    first, *rest = frames(Path(sys.argv[1]))
    output = Path(sys.argv[2])
    options = {"duration": MILLISECONDS, "loop": 0, "quality": 72, "method": 6}
    first.save(output, save_all=True, append_images=rest, **options)
