"""Which drug a medication record means: codes first, a Medication's parts, words last."""

from __future__ import annotations

from typing import NamedTuple

from ketacast.history.dosage import MILLIGRAMS
from ketacast.history.drugs import Product, Strength, names_a_group, product_of_code
from ketacast.history.fhir import Resource, codings, items, mapping, number, text, words
from ketacast.history.names import product_of_text
from ketacast.history.near_names import near_drug
from ketacast.history.records import Chart

_DEEPEST = 4


class Unknown(NamedTuple):
    """A record whose drug cannot be told, and why that matters."""

    code: str
    reason: str


_TEXT_FAULTS = {
    "two drugs": Unknown("two_drugs", "its text names more than one drug"),
    "not a treatment": Unknown("unclear_text", "its text names an antidepressant, but perhaps not "
                               "one that was taken"),
}  # fmt: skip


def product_of(resource: Resource, chart: Chart) -> Product | Unknown | None:
    """Find the drug of a medication record.

    Returns
    -------
    Product, Unknown or None
        None if it is a drug that does not matter here.
    """
    concept = resource.get("medicationCodeableConcept")
    if concept is not None:
        return _of_concept(concept)
    reference = mapping(resource.get("medicationReference"))
    medication = chart.resolve(reference, resource)
    if medication:
        return _of_medication(medication, resource, chart)
    display = text(reference.get("display"))
    if display:
        return _of_words([display])
    if text(reference.get("reference")):
        return Unknown("no_medication", "the Medication that it refers to was not sent")
    return Unknown("no_drug", "it names no drug")


def _of_concept(concept: object) -> Product | Unknown | None:
    found: dict[str, Product] = {}
    named_group = False
    coded = False
    for system, code, _ in codings(concept):
        coded = coded or bool(code)
        product = product_of_code(system, code) if code else None
        if product is None:
            named_group = named_group or names_a_group(system, code)
            continue
        known = found.get(product.drug.name)
        if known is None or known.strength is None:
            found[product.drug.name] = product
    written = words(concept)
    in_words = _of_words(written)
    if len(found) > 1 and not isinstance(in_words, Product):
        return Unknown("two_drugs", "its codes name more than one drug")
    if len(found) == 1:
        return _with_words(next(iter(found.values())), written)
    if in_words is None and named_group:
        return Unknown("group_only", "its code names a group of antidepressants, but no drug")
    if in_words is None and not written:
        return _NO_WORDS[coded]
    return in_words


_NO_WORDS = {
    True: Unknown("unknown_code", "its code is not in the tables, and it has no words"),
    False: Unknown("no_drug", "it names no drug"),
}


def _with_words(product: Product, written: list[str]) -> Product:
    """Take strength, use and partner from the words where the code says none."""
    if product.strength is not None and product.use:
        return product
    for part in written:
        read = product_of_text(part)
        if not isinstance(read, Product):
            continue
        if read.drug.name != product.drug.name:
            # A code of one ingredient with words of a combination of it.
            if read.drug.name.endswith("-bupropion") and product.drug.name == "bupropion":
                return read
            continue
        product = product._replace(
            strength=product.strength or read.strength,
            use=product.use or read.use,
            partner=product.partner or read.partner,
        )
    return product


def _of_words(written: list[str]) -> Product | Unknown | None:
    fault: Unknown | None = None
    for part in written:
        read = product_of_text(part)
        if isinstance(read, Product):
            return read
        if read is not None:
            fault = fault or _TEXT_FAULTS[read]
    return fault or _misspelt(written)


def _misspelt(written: list[str]) -> Unknown | None:
    name = next(filter(None, map(near_drug, written)), None)
    if name is None:
        return None
    return Unknown("misspelt", f"a word of it is nearly, but not quite, {name}")


def _of_medication(
    medication: Resource, resource: Resource, chart: Chart
) -> Product | Unknown | None:
    """Read a Medication: its code, else its ingredients, followed with a limit to their depth."""
    own = _of_concept(medication["code"]) if "code" in medication else None
    parts: list[Product] = []
    waiting = [(medication, 0)]
    while waiting:
        held, depth = waiting.pop()
        for ingredient in items(held.get("ingredient")):
            part = mapping(ingredient)
            product = _of_concept(part["itemCodeableConcept"]) if (
                "itemCodeableConcept" in part) else None  # fmt: skip
            if isinstance(product, Product):
                parts.append(product._replace(strength=_ratio(part) or product.strength))
            elif "itemReference" in part and depth < _DEEPEST:
                waiting.append((chart.resolve(part["itemReference"], resource), depth + 1))
    if isinstance(own, Product):
        same = [part for part in parts if part.drug.name == own.drug.name]
        return own._replace(strength=own.strength or (same[0].strength if same else None))
    names = {part.drug.name for part in parts if part.drug.kind == "antidepressant"}
    if len(names) > 1:
        return Unknown("two_drugs", "its ingredients are more than one antidepressant")
    chosen = [part for part in parts if not names or part.drug.name in names]
    if not chosen:
        return own
    partner = next((p.drug.name for p in parts if p.drug.kind == "augmentation"), "")
    first = min(chosen, key=lambda part: (part.drug.name, str(part.strength)))
    return first._replace(partner=partner if names else "")


def _ratio(ingredient: Resource) -> Strength | None:
    """Strength of an ingredient: milligrams in one unit of the product."""
    ratio = mapping(ingredient.get("strength"))
    top, bottom = mapping(ratio.get("numerator")), mapping(ratio.get("denominator"))
    value, over = number(top.get("value")), number(bottom.get("value"))
    unit = (text(top.get("code")) or text(top.get("unit"))).lower()
    scale = MILLIGRAMS.get(unit.replace("(s)", ""))
    if value is None or value <= 0 or scale is None or (over is not None and over <= 0):
        return None
    below = (text(bottom.get("code")) or text(bottom.get("unit"))).lower()
    amount = value * scale / (over or 1.0)
    return Strength(amount, amount, "mL" if below == "ml" else "unit")
