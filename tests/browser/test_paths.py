"""Every way through the page: typing, choosing, files, lists, keys, and without script."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import GOOD, Open
from tests.service.running import Running

import ketacast
from ketacast.updating import Batch, Cell, update_clinic

HERO = '[data-part="hero"] [data-outcome="response"] [data-name="expected"]'
NO_SCRIPT = {"java_script_enabled": False}


def shown(page: Page) -> float:
    return float(page.get_attribute(HERO, "value") or "nan")


def answers(site: Running) -> int:
    database = site.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(database) as connection:
        (table,) = (
            name
            for (name,) in connection.execute("select name from sqlite_master where type='table'")
            if "record" in name
        )
        query = f"select count(*) from {table} where kind = 'page'"  # noqa: S608  # our own name
        return int(connection.execute(query).fetchone()[0])


def clinic_file(directory: Path) -> tuple[Path, float]:
    clinic = update_clinic(
        None, [Batch("2026-Q1", (Cell((4, 8), 6, "self", "all_treated", 40, 30, 15),))]
    )
    path = directory / "clinic.json"
    path.write_text(clinic.to_json(), encoding="utf-8")
    own = ketacast.predict(failed_trials=6, infusions=6, rated_by="self", clinic=clinic)
    assert own.response.clinic is not None
    return path, own.response.clinic.expected


def test_answers_come_while_typing_and_the_address_follows(visit: Open, site: Running) -> None:
    page = visit("/?lang=en")
    assert not page.is_checked("#rated_by-self")
    before = answers(site)
    page.locator("#failed_trials").press_sequentially("4-8", delay=20)
    expect(page.locator('[data-part="hero"]')).to_contain_text("Still needed")
    page.check("#rated_by-clinician")
    expect(page.locator(HERO)).to_be_visible()
    expected = ketacast.predict(failed_trials=(4, 8), infusions=6, rated_by="clinician")
    assert shown(page) == expected.response.expected
    expect(page.locator("#said")).to_contain_text("Of 100 patients")
    query = parse_qs(urlsplit(page.url).query)
    assert query == {
        "lang": ["en"], "failed_trials": ["4-8"], "infusions": ["6"], "rated_by": ["clinician"],
    }  # fmt: skip
    # One record for one answer shown, not one for each key.
    assert answers(site) == before + 1
    page.locator("#infusions").fill("12")
    expect(page.locator(".banner").first).to_contain_text("Beyond the evidence")
    page.reload()
    assert page.input_value("#failed_trials") == "4-8"
    longer = ketacast.predict(failed_trials=(4, 8), infusions=12, rated_by="clinician")
    assert shown(page) == longer.response.expected


def test_faults_while_typing_are_said_at_the_field_and_go_away(visit: Open) -> None:
    page = visit(GOOD)
    page.fill("#infusions", "31")
    expect(page.locator("#infusions-error")).to_contain_text("Give a whole number from 1 to 30")
    assert page.get_attribute("#infusions", "aria-invalid") == "true"
    expect(page.locator("#said")).to_contain_text("“31” is outside")
    page.fill("#infusions", "8")
    expect(page.locator("#infusions-error")).to_be_empty()
    assert page.get_attribute("#infusions", "aria-invalid") is None


def test_pressing_the_button_moves_to_the_answer_or_to_the_fault(visit: Open) -> None:
    page = visit("/?lang=en")
    page.click("#submit")
    expect(page.locator("#failed_trials")).to_be_focused()
    page.fill("#failed_trials", "6")
    page.check("#rated_by-self")
    page.click("#submit")
    expect(page.locator("#answer-title")).to_be_focused()


def test_statuses_by_buttons(visit: Open) -> None:
    page = visit(GOOD)
    page.click("summary:has-text('Course already begun')")
    for name in ("No response", "Response", "Remission"):
        page.click(f"#letters button:text-is('{name}')")
    page.click("#letters button:text-is('Remove last')")
    assert page.input_value("#so_far") == "NR"
    expect(page.locator("#sentence")).to_contain_text("with this course so far")
    expected = ketacast.predict(failed_trials=6, infusions=6, rated_by="self", so_far="NR")
    expect(page.locator(HERO)).to_have_attribute("value", str(expected.response.expected))


def test_two_plans(visit: Open) -> None:
    page = visit(GOOD)
    page.click("summary:has-text('Compare with another plan')")
    page.fill("#compare", "8")
    page.click("#tab-compare")
    cell = page.locator("#panel-compare [data-plan=difference] data").first
    expected = ketacast.compare_plans(failed_trials=6, infusions=(6, 8), rated_by="self")
    expect(cell).to_have_attribute("value", str(expected.response.expected))
    expect(page.locator("#panel-compare")).to_contain_text("not the effect of choosing a plan")


def test_a_clinic_s_file_stays_here_unless_it_is_to_be_kept(visit: Open, tmp_path: Path) -> None:
    path, expected = clinic_file(tmp_path)
    page = visit(GOOD)
    page.click('summary:has-text("Your clinic\'s own results")')
    page.set_input_files("#clinic", path)
    own = page.locator('[data-part="hero"] [data-name="own_expected"]').first
    expect(own).to_have_attribute("value", str(expected))
    assert "clinic" not in page.url
    assert page.evaluate("localStorage.length") == 0
    page.check("#keep")
    page.reload()
    expect(own).to_have_attribute("value", str(expected))
    expect(page.locator("#kept")).to_be_visible()
    page.click("#forget")
    expect(own).to_have_count(0)
    assert page.evaluate("localStorage.length") == 0
    page.set_input_files("#clinic", {"name": "x.json", "mimeType": "", "buffer": b"{}"})
    expect(page.locator("#clinic-error")).to_contain_text("no clinic profile")


def test_a_medication_list_fills_the_field(visit: Open) -> None:
    page = visit(GOOD)
    page.click("#helper summary")
    page.fill("#medications", "sertraline, 150, 8, failed\nvenlafaxine, 225, 10\nfoo, 1, 8")
    page.click("#helper button")
    expect(page.locator("#failed_trials")).to_have_value("2")
    expect(page.locator("#helper")).to_contain_text("foo")
    expected = ketacast.predict(failed_trials=2, infusions=6, rated_by="self")
    expect(page.locator(HERO)).to_have_attribute("value", str(expected.response.expected))
    assert "sertraline" not in page.url
    page.fill("#medications", "sertraline, much, 8")
    page.click("#helper button")
    expect(page.locator("#medications-error")).to_contain_text("dose_mg")


def test_the_note_is_copied(visit: Open) -> None:
    page = visit(GOOD, permissions=["clipboard-read", "clipboard-write"])
    page.click("#tab-note")
    page.click("#copy-note")
    expect(page.locator("#said")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text("#note")
    page.click("#copy-link")
    expect(page.locator("#said")).to_contain_text("holds the inputs and nothing else")
    assert "failed_trials=6" in page.evaluate("navigator.clipboard.readText()")


def test_cohorts_are_sorted_by_their_headings(visit: Open) -> None:
    page = visit(GOOD)
    page.click("#tab-evidence")
    head = page.locator(".cohorts th[scope=col]").nth(3)
    values = (
        "[...document.querySelectorAll('.cohorts tbody tr')].map((r) => r.cells[3].dataset.value)"
    )
    for order in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        found = [float(value) for value in page.evaluate(values) if value]
        assert found == sorted(found, reverse=order == "descending")
        assert page.evaluate(values)[-1] == ""


def test_the_language_changes_and_the_inputs_stay(visit: Open) -> None:
    page = visit(GOOD)
    page.fill("#failed_trials", "3")
    expected = ketacast.predict(failed_trials=3, infusions=6, rated_by="self")
    expect(page.locator(HERO)).to_have_attribute("value", str(expected.response.expected))
    page.click("a[data-lang=es]")
    assert page.get_attribute("html", "lang") == "es"
    assert page.input_value("#failed_trials") == "3"
    assert shown(page) == expected.response.expected


def test_by_keys_alone(visit: Open) -> None:
    page = visit("/?lang=en")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "failed_trials":
            break
    page.keyboard.type("6")
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "rated_by":
            break
    page.keyboard.press("Space")
    assert page.is_checked("#rated_by-self")
    page.keyboard.press("Enter")
    expect(page.locator("#answer-title")).to_be_focused()
    expected = ketacast.predict(failed_trials=6, infusions=6, rated_by="self")
    assert shown(page) == expected.response.expected
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "tab":
            break
    expect(page.locator("#tab-people")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-course")).to_be_focused()
    assert page.is_visible("#panel-course")
    assert not page.is_visible("#panel-people")
    page.keyboard.press("End")
    expect(page.locator("#tab-model")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    expect(page.locator("#tab-people")).to_have_attribute("tabindex", "0")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_without_script_the_form_answers(visit: Open) -> None:
    page = visit("/?lang=en", **NO_SCRIPT)
    page.fill("#failed_trials", "4-8")
    page.check("#rated_by-self")
    page.click("#submit")
    expected = ketacast.predict(failed_trials=(4, 8), infusions=6, rated_by="self")
    assert shown(page) == expected.response.expected
    for name in ("people", "course", "table", "words", "note", "evidence", "model"):
        assert page.is_visible(f"#panel-{name}")
    assert not page.is_visible("#theme")
    page.fill("#infusions", "99")
    page.click("#submit")
    assert page.inner_text("#infusions-error").startswith("“99” is outside")
    assert page.is_visible("#summary")


def test_without_script_a_file_is_sent_by_its_own_button(visit: Open, tmp_path: Path) -> None:
    path, expected = clinic_file(tmp_path)
    page = visit(GOOD, **NO_SCRIPT)
    page.click('summary:has-text("Your clinic\'s own results")')
    page.set_input_files("#clinic", path)
    page.click("#send-clinic")
    own = page.locator('[data-part="hero"] [data-name="own_expected"]').first
    assert float(own.get_attribute("value") or "nan") == expected
    assert json.dumps(expected) not in page.url


def test_without_script_a_list_is_counted(visit: Open) -> None:
    page = visit(GOOD, **NO_SCRIPT)
    page.click("#helper summary")
    page.fill("#medications", "sertraline, 150, 8, failed\nvenlafaxine, 225, 10")
    page.click("#helper button")
    assert page.input_value("#failed_trials") == "2"
    expected = ketacast.predict(failed_trials=2, infusions=6, rated_by="self")
    assert shown(page) == expected.response.expected


def test_a_service_that_is_away_is_said(visit: Open) -> None:
    page = visit(GOOD)
    page.route("**/page/answer**", lambda route: route.fulfill(status=503, body="{}"))
    page.fill("#failed_trials", "5")
    expect(page.locator("#said")).to_contain_text("could not be fetched")
    page.unroute("**/page/answer**")
    page.fill("#failed_trials", "7")
    expect(page.locator("#said")).to_contain_text("Of 100 patients")


@pytest.mark.parametrize("rater", ["self", "clinician", "unknown"])
def test_the_address_answers_by_itself(visit: Open, rater: str) -> None:
    page = visit(f"/?failed_trials=2-5&infusions=8&rated_by={rater}&lang=de")
    expected = ketacast.predict(failed_trials=(2, 5), infusions=8, rated_by=rater)  # type: ignore[arg-type]
    assert shown(page) == expected.response.expected
