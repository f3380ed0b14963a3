"""README and docs: every path exists, every command and setting is known, marked examples run."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from ld4mrec_cli.cli import options
from ld4mrec_cli.cli.app import COMMANDS, app, run
from ld4mrec_cli.config import Config
from ld4mrec_cli.config.schema import iter_sections

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGE = ROOT / "ld4mrec_cli"
SECTIONS = {name: set(section.model_fields) for name, section in iter_sections()}

LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"(<!-- runnable -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"([a-z_0-9]+)\.([a-z_0-9]+)(?:=.*)?")
SOURCE = re.compile(r"[\w./-]+\.(?:py|sh)|(?:ld4mrec_cli|docs|examples|tests)/[\w./-]+")
CALL = re.compile(r"(?:\$ )?(?:ld4mrec|torchrun .*? --|.*&& ld4mrec)(?= |$)")
SHELL_OPERATORS = {">", "|", "&&", "<", ";"}
PLACEHOLDER = re.compile(r"[A-Z]{3,}|…|\.\.\.")


def read_blocks(page: Path) -> list[tuple[bool, str, str]]:
    """Fenced blocks of a page: whether it is runnable, its language, its text."""
    return [
        (bool(mark), language, text) for mark, language, text in BLOCK.findall(page.read_text())
    ]


def parse_commands(text: str) -> list[list[str]]:
    """Arguments of the lines of a text that call `ld4mrec`, alone, by torchrun or after `&&`."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        match = CALL.match(line)
        if match:
            words = shlex.split(line[match.end() :], comments=True)
            end = next((n for n, word in enumerate(words) if word in SHELL_OPERATORS), len(words))
            commands.append([word for word in words[:end] if word not in {"…", "..."}])
    return [command for command in commands if command]


def read_commands(page: Path) -> list[list[str]]:
    """Every command of a page: in blocks, and in backticks."""
    commands = [
        c for _, language, text in read_blocks(page) if not language for c in parse_commands(text)
    ]
    prose = BLOCK.sub("", page.read_text())
    return commands + [c for code in CODE.findall(prose) for c in parse_commands(code)]


def has_setting(key: str) -> bool:
    """Whether the configuration has a setting, as ``section.key`` or at the top level."""
    section, _, name = key.rpartition(".")
    return name in SECTIONS.get(section, ()) if section else name in Config.model_fields


COMMAND_LINES = [(page.name, command) for page in PAGES for command in read_commands(page)]


def test_the_docs_have_examples_of_every_command():
    used = {command[0] for _, command in COMMAND_LINES if command}
    assert used >= {name for group in COMMANDS.values() for name in group}


@pytest.mark.parametrize(
    ("page", "arguments"),
    COMMAND_LINES,
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_commands_in_the_docs_parse(page, arguments, monkeypatch):
    monkeypatch.setattr(options, "configure_threads", lambda n_threads: None)
    group = typer.main.get_command(app)
    name, rest = arguments[0], arguments[1:]
    if name.startswith("-"):
        assert name in {"--help", "--version"}
        return
    command = group.get_command(group.make_context("ld4mrec", [name, "--help"]), name)
    assert command is not None, name
    if "--help" in rest or not rest:
        return  # the name of a command in a sentence
    context = command.make_context(name, list(rest))
    for override in context.params.get("set_") or ():
        assert has_setting(override.partition("=")[0]), override


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_docs_exist(page):
    for code in CODE.findall(page.read_text()):
        match = SETTING.fullmatch(code)
        if match and match[1] in SECTIONS and match[2] not in {"py", "yaml", "md"}:
            assert match[2] in SECTIONS[match[1]], code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_in_the_docs_exist(page):
    text = page.read_text()
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), target
    for code in CODE.findall(text):
        path = code.split(" ")[0]
        if SOURCE.fullmatch(path) and not PLACEHOLDER.search(path):
            folders = (
                ROOT,
                PACKAGE,
                PACKAGE / "models" / "ld4mrec",
                ROOT / "examples" / "benchmarks",
            )
            assert any((folder / path).exists() for folder in folders), path


def test_the_answers_for_contributors_name_what_the_files_define():
    page = (ROOT / "docs" / "contributing.md").read_text()
    answers = re.findall(r"^\| .* \| `(ld4mrec_cli/[\w/]+\.py)`, `([\w.]+)`", page, re.MULTILINE)
    assert len(answers) >= 10
    for path, name in answers:
        defined = {
            node.name
            for node in ast.walk(ast.parse((ROOT / path).read_text()))
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }
        assert set(name.split(".")) <= defined, f"{path}: {name}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A working directory with the files that the runnable examples name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    items = ["lamp", "desk", *(f"item{n}" for n in range(30))]
    users = [f"u{n}" for n in range(1, 61)]
    rows = [
        (user, items[(7 * number + step * (1 + number % 3)) % len(items)], step)
        for number, user in enumerate(users)
        for step in range(10)
    ]
    lines = [f"{user},{item},2025-01-{day + 1:02d}" for user, item, day in rows]
    (tmp_path / "shop" / "interactions.csv").write_text("user,item,timestamp\n" + "\n".join(lines))
    titles = [f"{item},a fine {item} of kind {n % 3}" for n, item in enumerate(items)]
    (tmp_path / "shop" / "items.csv").write_text("item,title\n" + "\n".join(titles))
    (tmp_path / "users.txt").write_text("u1\nu2\n")
    write_orders(
        tmp_path, [f"{user},{item},2025-01-{day + 1:02d}" for user, item, day in rows], items
    )
    return tmp_path


WOODS = ("oak", "pine", "elm")


def write_orders(directory, lines, items):
    """The files that docs/production.md names."""
    kinds = ("lamps", "desks", "chairs")
    texts = {
        "orders.csv": ["customer,product,date", *lines],
        "newer-orders.csv": [
            "customer,product,date",
            *lines,
            *(f"u{n},item{(3 * n) % 20},2027-01-{1 + n % 20:02d}" for n in range(1, 21)),
        ],
        "items.csv": [
            "product,title,category",
            *(f"{i},a {WOODS[n % 3]} {i},{kinds[n % 3]}" for n, i in enumerate(items)),
        ],
        "stock.csv": ["product", *items[::2], "not-sold-yet"],
        "returned.csv": ["customer,product", "u1,lamp"],
        "today.csv": [
            "customer,product",
            "u1,item20",
            "someone-new,desk",
            "someone-else,unheard-of",
        ],
        "new.csv": ["product,title,category", "new1,an oak lamp,lamps", "new2,a pine,desks"],
        "newer.csv": ["product,title,category", "new3,of elm,lamps"],
        "campaign.csv": ["customer,product", "u1,lamp", "u1,desk", "u2,item3"],
    }
    for name, content in texts.items():
        (directory / name).write_text("\n".join(content) + "\n")


@pytest.mark.slow
def test_the_page_on_production_runs(shop, capsys):
    page = ROOT / "docs" / "production.md"
    commands = [
        c for runnable, _, text in read_blocks(page) if runnable for c in parse_commands(text)
    ]
    assert {command[0] for command in commands} >= {
        "prepare",
        "train",
        "refit",
        "recommend",
        "runs",
        "similar",
        "add-items",
    }
    for command in commands:
        assert run(command) == 0, (command, capsys.readouterr().err)
    stock = set((shop / "stock.csv").read_text().split())
    rows = [line.split(",") for line in (shop / "mail.csv").read_text().splitlines()[1:]]
    bought = {tuple(line.split(",")[:2]) for line in (shop / "orders.csv").read_text().splitlines()}
    assert rows
    assert all(item in stock and (user, item) not in bought for user, _, item, _ in rows)


@pytest.mark.slow
def test_runnable_examples_run(shop, capsys):
    page = ROOT / "docs" / "start.md"
    commands = [
        c for runnable, _, text in read_blocks(page) if runnable for c in parse_commands(text)
    ]
    assert {command[0] for command in commands} == {
        "inspect",
        "prepare",
        "train",
        "evaluate",
        "recommend",
        "refit",
    }
    for command in commands:
        assert run(command) == 0, (command, capsys.readouterr().err)
    for name in ("shop.html", "lists.csv", "lists.parquet", "data/shop/schema.json"):
        assert (shop / name).is_file()
