"""The files of the page, read: they use what the document has, load nothing from elsewhere, and have contrast."""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from attestrio.duty import EndState
from attestrio.duty.events import Step
from attestrio.web import api
from attestrio.web.assets import PAGE, read_assets
from hatchling.builders.wheel import WheelBuilder
from suite import needs

SCRIPTS = {path.name: path.read_text("utf-8") for path in sorted(PAGE.glob("*.js"))}
STYLE = (PAGE / "style.css").read_text("utf-8")
HTML = (PAGE / "index.html").read_text("utf-8")
SHOWING = {name: text for name, text in SCRIPTS.items() if name not in ("dom.js", "format.js")}

# what a value is called in the scripts, by its shape: one word for one thing
CALLED = {
    "doc": api.StatusView,
    "node": api.NodeView,
    "check": api.CheckView,
    "fact": api.FactView,
    "progress": api.ProgressView,
    "epoch": api.EpochView,
    "committee": api.CommitteeView,
    "member": api.MemberView,
    "batch": api.BatchView,
    "step": api.StepView,
    "vote": api.VoteView,
    "delivery": api.DeliveryView,
    "chain": api.ChainView,
    "peers": api.PeersView,
    "peer": api.PeerView,
    "l1": api.L1View,
    "queue": api.QueueView,
    "tasks": api.TasksView,
    "task": api.TaskView,
    "resequence": api.ResequenceView,
    "line": api.LogView,
}
NOT_SHOWN = {("StatusView", "schema")}  # which is for programs


def used():
    """(variable, field) of every `variable.field` in the scripts that show something."""
    names = "|".join(CALLED)
    return {
        pair
        for text in SHOWING.values()
        for pair in re.findall(rf"(?:(?<=\.\.\.)|(?<![\w.\"'/]))({names})\??\.(\w+)", strip(text))
    }


def strip(text):
    """Without comments."""
    return re.sub(r"^\s*(//|/\*\*).*$|//\s.*$", "", text, flags=re.MULTILINE)


def test_every_field_that_the_page_shows_is_in_the_document():
    missing = [f"{name}.{field}" for name, field in used() if field not in CALLED[name].__struct_fields__]

    assert missing == []
    assert len(used()) > 80


def test_every_field_of_the_document_is_shown():
    shown = {(CALLED[name].__name__, field) for name, field in used()}
    taken_apart = {("StatusView", name) for name in re.findall(r"const \{ (\w+) \} = doc", "".join(SHOWING.values()))}

    fields = {(shape.__name__, field) for shape in CALLED.values() for field in shape.__struct_fields__}

    assert fields - shown - taken_apart - NOT_SHOWN == set()


def test_every_shape_of_the_document_has_a_name_in_the_scripts():
    shapes = {one for one in vars(api).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)}

    assert shapes - set(CALLED.values()) == {api.Shape}


def test_every_step_and_every_end_has_its_words():
    steps = re.search(r"const STEPS = \{(.*?)\};", SCRIPTS["batches.js"], re.DOTALL)[1]
    marks = re.search(r"const MARKS = \{(.*?)\};", SCRIPTS["head.js"])[1]

    assert set(re.findall(r"^  (\w+):", steps, re.MULTILINE)) == {step.value for step in Step}
    assert set(re.findall(r"(\w+):", marks)) == {state.value for state in EndState}


@pytest.mark.parametrize("path", sorted(PAGE.iterdir()), ids=lambda path: path.name)
def test_nothing_is_loaded_from_another_host(path):
    text = path.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert not re.findall(r"""(?:https?:|wss?:)?//[\w.-]+\.\w+|@import|url\(""", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_or_code_of_a_text(name):
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", SCRIPTS[name]
    )


def test_the_policy_lets_everything_run_that_the_page_has():
    class Tags(HTMLParser):
        inline = ()
        referred = ()

        def handle_starttag(self, tag, attributes):
            given = dict(attributes)
            self.inline += tuple(name for name in given if name == "style" or name.startswith("on"))
            self.inline += ("script",) * (tag == "script" and "src" not in given) + ("style",) * (tag == "style")
            self.referred += tuple(given[name] for name in ("src", "href") if name in given)

    tags = Tags()
    tags.feed(HTML)
    assets = read_assets()

    assert tags.inline == ()
    assert {url.removeprefix("/page/") for url in tags.referred if url.startswith("/page/")} <= set(assets)
    assert {url for url in tags.referred if not url.startswith("/page/")} == {"/status.json"}


def test_every_script_imports_what_another_one_exports():
    export = re.compile(r"^export (?:const|function|async function) (\w+)", re.MULTILINE)
    exported = {name: set(export.findall(text)) for name, text in SCRIPTS.items()}
    imported = [
        (source, one.strip())
        for text in SCRIPTS.values()
        for names, source in re.findall(r"^import \{([^}]*)\} from \"\./([\w.]+)\";", text, re.MULTILINE)
        for one in names.split(",")
    ]

    assert [pair for pair in imported if pair[1] not in exported[pair[0]]] == []
    assert len(imported) > 20


@needs("node")
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_can_be_parsed(name, tmp_path):
    module = tmp_path / f"{name}.mjs"
    module.write_text(SCRIPTS[name], "utf-8")

    done = subprocess.run(["node", "--check", module], capture_output=True, text=True, timeout=30, check=False)

    assert done.stderr == ""


def colours(dark):
    """The variables of the style, as light or dark machines have them."""
    light, night = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return {**found, **(dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", night)) if dark else {})}


def contrast(one, other):
    """Of two colours, as WCAG 2 has it: 1 to 21."""
    brightest, darkest = sorted((luminance(one), luminance(other)), reverse=True)
    return (brightest + 0.05) / (darkest + 0.05)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(dark):
    of = colours(dark)
    texts = ("ink", "muted", "accent", "good", "warn", "bad")
    pairs = [
        *((text, behind) for text in texts for behind in ("ground", "surface")),
        ("on-bad", "bad"),
        ("ink", "raised"),
    ]

    assert [pair for pair in pairs if contrast(of[pair[0]], of[pair[1]]) < 4.5] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_mark_stands_out_from_its_card(dark):
    of = colours(dark)

    assert [name for name in ("bar", "good", "bad", "warn") if contrast(of[name], of["surface"]) < 3] == []


def test_every_colour_of_the_style_is_a_variable():
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)

    assert re.findall(r"#[0-9a-f]{3,8}\b|rgb\(|hsl\(", rules) == []
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) <= set(colours(dark=False))


def test_the_page_is_in_the_wheel():
    builder = WheelBuilder(str(Path(__file__).parents[3]))

    inside = {Path(file.path) for file in builder.recurse_included_files()}

    assert set(PAGE.iterdir()) <= inside
