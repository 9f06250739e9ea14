"""A headless Chromium, where there is one: a page as the browser has made it, and a picture of it."""

import re
import shutil
import subprocess
from html import unescape

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


def after(page, script, width=1280):
    """The text that a script returns, run in the page when it is loaded. Errors of the page are in it."""
    copy = page.with_name(f"{page.stem}.tried.html")
    run = (
        "<script>const failed = []; onerror = (text) => failed.push(text); onload = () => {"
        "let said; try { said = (() => {"
        f"{script}"
        "})() } catch (error) { failed.push(String(error)) } const out = document.createElement('output');"
        "out.id = 'said'; out.textContent = JSON.stringify([said, failed]); document.body.append(out) }</script>"
    )
    copy.write_text(page.read_text().replace("<head>", f"<head>{run}", 1))
    size = f"--window-size={width},1000"
    found = subprocess.run([str(CHROMIUM), *OPTIONS, size, "--dump-dom", copy.as_uri()], capture_output=True, text=True)
    copy.unlink()
    (said,) = re.findall(r'<output id="said">(.*?)</output>', found.stdout, flags=re.S)
    return unescape(said)


OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000")
