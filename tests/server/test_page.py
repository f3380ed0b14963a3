"""The page in a real browser: by keyboard, on a phone, with a token, and safe from its data."""

from __future__ import annotations

import pytest
from chromium import CHROMIUM, open_page
from shop import ATTACK, SLASHED, TITLES, UMLAUT, running

from ld4mrec_cli.server.settings import ServerSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
TOKEN = "a-token-of-some-length"
SHOWN = "!document.getElementById('recommended').hidden"
PHONE, DESKTOP = (360, 740), (1280, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser, server):
    """The page of the shop without a question; at the end it has caused no complaint."""
    browser.resize(*DESKTOP)
    browser.requests.clear()
    browser.complaints.clear()
    browser.address = f"http://127.0.0.1:{server.client.port}/"
    yield browser
    assert browser.complaints == []
    hosts = {"/".join(address.split("/")[:3]) + "/" for address in browser.requests}
    assert hosts - {"about:blank/"} == {browser.address}


def listed(page):
    return page.texts("#list h3")


def test_a_user_is_asked_for_by_keyboard_alone(page, recommender):
    page.open(page.address)
    page.wait("!document.getElementById('form').hidden")
    page.press("Tab", "Tab", "Tab")  # past the skip link and the API link
    page.wait("document.activeElement.id === 'user'")
    page.type("user1")
    page.wait("document.querySelectorAll('#user-options li').length === 8")
    page.press("ArrowDown", "ArrowDown")
    active = "document.activeElement.getAttribute('aria-activedescendant')"
    page.wait(f"document.getElementById({active})?.innerText === 'user10'")
    page.press("Enter")
    page.wait(SHOWN)
    expected = recommender.recommend("user10", k=12)
    names = [entry.title or entry.item for entry in expected.items]
    assert listed(page) == [f"{n}. {name}" for n, name in enumerate(names, 1)]
    assert page.text("#status") == f"{len(names)} recommendations for user user10"
    history = recommender.known[recommender.users.index("user10")].indices
    titles = [recommender.titles[at] or recommender.items[at] for at in history]
    assert page.texts("#had li span:last-child") == titles
    assert page.run("location.hash") == "#user=user10"


def test_reasons_and_pictures_are_shown(page, recommender):
    page.open(f"{page.address}#item=item0")
    page.wait(SHOWN)
    first = recommender.recommend(history=["item0"], k=1, reasons=1).items[0]
    assert first.reasons[0].item == "item0"
    assert page.texts("#list li:first-child .reasons li") == ["a item0\n100 %"]
    page.wait("document.querySelector('#had img')?.naturalWidth === 1")
    page.open(f"{page.address}#user=user3")
    page.wait(SHOWN)
    titles = [f"{n}. {TITLES[UMLAUT]}" for n in range(1, 13)]
    at = next(n for n, name in enumerate(listed(page)) if name in titles)
    page.wait(
        f"document.querySelectorAll('#list > li')[{at}].querySelector('img')?.naturalWidth === 1"
    )
    blank = page.run("document.querySelector('#list .blank').textContent")
    assert blank == "A"  # "a item…" has no picture


def test_items_are_picked_by_title_and_taken_away_again(page, recommender):
    page.open(page.address)
    page.wait("!document.getElementById('form').hidden")
    page.run("document.getElementById('item').focus()")
    page.type("kuche")
    page.wait("document.querySelectorAll('#item-options li').length === 1")
    page.press("Escape")
    page.wait("document.getElementById('item-options').hidden")
    page.press("ArrowDown")
    page.wait("document.querySelectorAll('#item-options li').length === 1")
    page.press("ArrowDown", "Enter")
    page.wait("document.querySelector('#chosen li')")
    assert page.texts("#chosen li") == [f"{TITLES[UMLAUT]}\n×"]
    assert page.focused() == "item"
    page.press("Enter")
    page.wait(SHOWN)
    expected = recommender.recommend(history=[UMLAUT], k=12).items
    assert listed(page) == [f"{n}. {e.title or e.item}" for n, e in enumerate(expected, 1)]
    page.press("Tab")
    page.wait(f"document.activeElement.ariaLabel === 'Remove {TITLES[UMLAUT]}'")
    page.press("Enter")
    page.wait("!document.querySelector('#chosen li')")


def test_similar_items_open_in_a_dialog_and_can_be_added(page, recommender):
    page.open(f"{page.address}#item=a%2Fb+c%3Fd%23e")
    page.wait(SHOWN)
    assert page.texts("#chosen li") == [f"{TITLES[SLASHED]}\n×"]
    first = recommender.recommend(history=[SLASHED], k=1).items[0]
    page.run("document.querySelector('.actions button').click()")
    page.wait("document.querySelectorAll('#similar > li').length")
    expected = recommender.similar(first.item, 12)
    names = [entry.title or entry.item for entry in expected.items]
    assert page.texts("#similar h3") == [f"{n}. {name}" for n, name in enumerate(names, 1)]
    page.run("document.querySelector('#similar [aria-label^=Add]').click()")
    assert f"{names[0]} is added" in page.text("#dialog-status")
    page.press("Escape")
    page.wait("!document.getElementById('dialog').open")
    assert page.texts("#chosen li") == [f"{TITLES[SLASHED]}\n×", f"{names[0]}\n×"]


def test_text_from_the_data_stays_text(page):
    page.open(f"{page.address}#user=user0")
    page.wait(SHOWN)
    page.run("document.getElementById('item').focus()")
    page.type("onerror")
    page.wait("document.querySelectorAll('#item-options li').length === 1")
    page.press("ArrowDown", "Enter")
    page.run("document.getElementById('go').click()")
    page.wait(f"document.querySelector('#had li')?.innerText.includes({ATTACK!r})")
    assert page.texts("#chosen li") == [f"{ATTACK}\n×"]
    assert page.run("document.title") == "Recommendations"
    assert page.run("document.querySelectorAll('#hacked, img[src=x]').length") == 0


@pytest.mark.parametrize("hash", ["", "#user=user0", "#user=nobody", "#item=item1&item=item3"])
def test_it_fits_a_phone_in_light_and_dark(page, hash):
    backgrounds = []
    for dark in (False, True):
        page.resize(*PHONE, dark=dark)
        page.open(page.address + hash)
        page.wait("!document.getElementById('form').hidden")
        if hash:
            page.wait(f"{SHOWN} || !document.getElementById('error').hidden")
        page.run("document.getElementById('more').open = true")
        assert page.run("document.documentElement.scrollWidth") == PHONE[0]
        small = page.run(
            "[...document.querySelectorAll('button, input:not([type=checkbox]), select')]"
            ".filter((one) => one.offsetHeight && one.offsetHeight < 44).length"
        )
        assert small == 0, "too small for a finger"
        backgrounds.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert backgrounds == ["rgb(245, 246, 244)", "rgb(19, 23, 21)"]


def test_every_field_has_a_name(page):
    page.open(f"{page.address}#user=user0")
    page.wait(SHOWN)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {"button", "textbox", "combobox", "spinbutton", "checkbox", "listbox", "link"}
    found = [n for n in nodes if n.get("role", {}).get("value") in wanted and not n["ignored"]]
    assert len(found) > 10
    assert [n for n in found if not n.get("name", {}).get("value")] == []


def test_errors_are_said_and_the_page_goes_on(page):
    page.open(f"{page.address}#user=nobody")
    page.wait("!document.getElementById('error').hidden")
    assert page.text("#error") == "unknown user 'nobody'"
    page.run("document.getElementById('clear').click()")
    assert page.run("document.getElementById('error').hidden")
    page.run("document.getElementById('go').click()")
    assert page.text("#error") == "Type the id of a user, or pick some items."
    assert page.focused() == "user"
    page.type("user2")
    page.press("Enter")
    page.wait(SHOWN)
    assert page.run("document.getElementById('error').hidden")


def test_a_filter_holds(page):
    page.open(f"{page.address}#user=user2")
    page.wait(SHOWN)
    page.run(
        "document.getElementById('column').value = 'category';"
        "document.getElementById('column').dispatchEvent(new Event('change'));"
        "document.getElementById('value').value = 'chairs';"
        "document.getElementById('list').replaceChildren();"
        "document.getElementById('go').click()"
    )
    page.wait("document.querySelectorAll('#list li').length")
    odd = {f"a item{n}" for n in range(0, 17, 2)} | {TITLES[UMLAUT]}
    assert {name.split(". ", 1)[1] for name in listed(page)} <= odd


def test_the_page_asks_for_the_token(page, shop, run):
    settings = ServerSettings(token=TOKEN, images=shop / "raw", reload_seconds=0)
    with running(run, settings) as started:
        page.address = f"http://127.0.0.1:{started.client.port}/"
        page.requests.clear()
        page.open(f"{page.address}#item=item0")
        page.wait("!document.getElementById('login').hidden")
        assert page.text("#error") == "a token is needed"
        assert page.focused() == "token"
        page.type("wrong-wrong-wrong-wrong")
        page.press("Enter")
        page.wait("document.getElementById('error').innerText === 'wrong token'")
        page.run("document.getElementById('token').value = ''")
        page.type(TOKEN)
        page.press("Enter")
        page.wait(SHOWN)
        page.wait("document.querySelector('#had img')?.naturalWidth === 1")
        page.requests[:] = [one for one in page.requests if not one.startswith("blob:")]


def test_the_description_of_the_api_is_shown(page):
    page.open(f"{page.address}docs")
    page.wait("document.querySelectorAll('article').length === 10")
    assert page.text("article h2") == "POST /recommend"
    assert '"users"' in page.text("article pre")
    page.resize(*PHONE)
    assert page.run("document.documentElement.scrollWidth") == PHONE[0]
