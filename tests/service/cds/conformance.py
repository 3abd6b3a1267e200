"""The requirements of CDS Hooks 2.0 that bind a service, and the page on them.

    python -m tests.service.cds.conformance

runs the tests of all requirements and writes ``docs/conformance.md``.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parents[2] / "docs" / "conformance.md"
PASSED: Final = "passed"
_HEAD: Final = """\
# Conformance with CDS Hooks 2.0

<!-- written by `python -m tests.service.cds.conformance`; do not edit -->

Every requirement of CDS Hooks 2.0 that binds a service, or client and service, by its number in
the requirement list of the Inferno framework's test kits; the words here are our own. Each has a
test of the same number (`pytest "tests/service/cds/test_conformance.py::test_requirement[54]"`),
which asks a running service over HTTP. Where a feature is not used, the reason is given, and the
test holds that it is not. How to connect: [cds-hooks.md](cds-hooks.md).

"""


class Requirement(NamedTuple):
    """One requirement.

    Attributes
    ----------
    number : int
        In the requirement list.
    level : str
        SHALL, SHOULD, MAY, ...
    about : str
        What it asks for, in short.
    check : str
        Name of the function that tests it.
    reason : str
        Why it does not apply, if so.
    """

    number: int
    level: str
    about: str
    check: str
    reason: str


def requirements() -> list[Requirement]:
    """Read all requirements."""
    with (HERE / "requirements.csv").open(encoding="utf-8", newline="") as file:
        return [
            Requirement(
                int(row["number"]), row["level"], row["about"], row["check"], row["reason"] or ""
            )
            for row in csv.DictReader(file)
        ]


def page(results: Mapping[int, str]) -> str:
    """Write the page.

    Parameters
    ----------
    results : mapping of int to str
        Outcome of each requirement's test.
    """
    every = requirements()
    used = [one for one in every if not one.reason]
    passed = sum(results.get(one.number) == PASSED for one in every)
    lines = [
        f"{len(every)} requirements, of which {len(used)} apply; {passed} tests passed.",
        "",
        "| number | level | what | test | result |",
        "|---:|---|---|---|---|",
        *[f"| {one.number} | {one.level} | {one.about} | `{one.check}` | "
          f"{results.get(one.number, 'not run')} |" for one in used],
        "",
        "## Not used",
        "",
        "| number | level | what | why | held by | result |",
        "|---:|---|---|---|---|---|",
        *[f"| {one.number} | {one.level} | {one.about} | {one.reason} | `{one.check}` | "
          f"{results.get(one.number, 'not run')} |" for one in every if one.reason],
    ]  # fmt: skip
    return _HEAD + "\n".join(lines) + "\n"


class _Results:
    """Collects outcomes by requirement."""

    def __init__(self) -> None:
        self.found: dict[int, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome; a failure of set-up counts too."""
        name, _, rest = report.nodeid.partition("[")
        if name.endswith("test_requirement") and (report.when == "call" or report.failed):
            self.found[int(rest.rstrip("]"))] = report.outcome


def main() -> int:
    """Run the tests and write the page."""
    results = _Results()
    code = pytest.main(
        ["-q", "-p", "no:cacheprovider", "-k", "test_requirement",
         str(HERE / "test_conformance.py")],
        plugins=[results],
    )  # fmt: skip
    PAGE.write_text(page(results.found), encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
