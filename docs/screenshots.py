"""Makes docs/pictures/ from a network that really runs: the status page on desktops and phones, and a batch explained.

Seven attesters, of which one is stopped after a while, so that there is something to see. Needs Chromium, and uses the
sans-serif font of this machine (Inter, where it is installed). Run it after changing node/attestrio/web/page/.
"""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import trio
from attestrio.roles import BatchNumber
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "real")]
from chromium_kit import DESKTOP, PHONE, Page, chromium  # noqa: E402  the tests drive the same browser

PICTURES = HERE / "pictures"
SPEC = ClusterSpec(attesters=7, batch_every_s=1.5, web=("127.0.0.1", 0))
STOPPED, SEEN_BY = "attester-5", "attester-1"
BEFORE, AWAY = 16, 5  # batches with all seven, and without one
TIMEOUT_S = 180


async def certified(cluster: Cluster, more: int) -> int:
    """Wait for `more` certificates; the number of the newest."""
    store = (await cluster.nodes[MAIN].wait_epoch()).store
    last = await store.last_qc()
    wanted = (0 if last is None else int(last.batch.number)) + more
    while last is None or last.batch.number < BatchNumber(wanted):
        await trio.sleep(0.05)
        last = await store.last_qc()
    return wanted


async def take(cluster: Cluster, batch: int) -> None:
    """The page of one attester, with a batch opened that lacks a vote. All pictures are of the same moment."""
    async with chromium() as browser:
        page = await browser.page(DESKTOP)
        await page.open(f"{cluster.pages[SEEN_BY]}/#batch-{batch}")
        await page.wait("document.querySelector('.timeline') !== null")
        votes = f"document.querySelectorAll('.now .vote').length === {SPEC.attesters - 1}"
        await page.wait(f"{votes} && (requestAnimationFrame = () => 0, true)")  # and nothing is drawn from then on
        await picture(page, "page-light.png", ".timeline")
        await page.show_as(PHONE, scale=1.5)
        await picture(page, "page-phone.png", "#committee")
        await page.show_as(DESKTOP, dark=True)
        await picture(page, "page-dark.png", "#committee")
        if page.complaints:
            raise SystemExit(f"the browser complained: {page.complaints}")


async def picture(page: Page, name: str, last: str) -> None:
    """From the top to the end of the element `last`."""
    end = await page.value(f"document.querySelector('{last}').getBoundingClientRect().bottom + scrollY")
    await page.picture(PICTURES / name, height=math.ceil(end) + 16)


def explained(cluster: Cluster, batch: int) -> None:
    """What `attestrio batch explain` prints about it, as a picture of a terminal."""
    names = f"web.names={cluster.overrides(SEEN_BY)['web.names']}"
    config = cluster.data_dir / SEEN_BY / "node.toml"
    command = [sys.executable, "-c", "from attestrio.cli import main; main()", "batch", "explain", str(batch)]
    done = subprocess.run([*command, "-c", config, "--set", names], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    terminal = Console(record=True, file=io.StringIO(), width=max(map(len, lines)) + 2, color_system="truecolor")
    terminal.print(Text(f"$ attestrio batch explain {batch}", style="bold"))
    terminal.print(Text(done.stdout.rstrip()))
    svg = terminal.export_svg(title=f"attestrio batch explain {batch}", theme=SVG_EXPORT_THEME)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # which would be loaded from another host
    (PICTURES / "batch-explain.svg").write_text(svg.replace("Fira Code", "DejaVu Sans Mono"), "utf-8")


async def main(folder: Path) -> None:
    cluster = Cluster(folder, SPEC)
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(cluster.run)
            await certified(cluster, BEFORE)
            await cluster.stop(STOPPED)
            batch = await certified(cluster, AWAY)
            await take(cluster, batch)
            nursery.cancel_scope.cancel()
    explained(cluster, batch)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="attestrio-pictures-") as made:
        trio.run(main, Path(made))
    for path in sorted(PICTURES.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
