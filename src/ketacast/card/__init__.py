"""The model card: one file of words, numbers from the model, four formats.

``card.yaml`` beside the model is the only source of the words. Its numbers are
figures read from artifact, validation, recipe and evidence when the card is made.
"""

from __future__ import annotations

from typing import Final, get_args

from ketacast.card.chai_xml import chai_xml
from ketacast.card.html_page import html
from ketacast.card.json_document import card_document, card_json, source_attributes
from ketacast.card.markdown_page import markdown
from ketacast.card.reading import load_card
from ketacast.card.records import Card, CardFormat
from ketacast.options import check_choice

CARD_FORMATS: Final[tuple[CardFormat, ...]] = get_args(CardFormat)

__all__ = [
    "CARD_FORMATS",
    "Card",
    "CardFormat",
    "card_document",
    "load_card",
    "render_card",
    "source_attributes",
]


def render_card(card: Card, form: CardFormat = "md") -> str:
    """Render a card; the same files give the same bytes.

    Parameters
    ----------
    card : Card
        From :func:`load_card`.
    form : {'md', 'html', 'json', 'chai-xml'}
        Markdown, one self-contained HTML page, JSON, or a CHAI applied model card.

    Returns
    -------
    str
        A whole document; ends with a line feed.

    Raises
    ------
    InputError
        If `form` is not one of the formats.
    """
    check_choice("form", form, CARD_FORMATS)
    renderers = {"md": markdown, "html": html, "json": card_json, "chai-xml": chai_xml}
    return renderers[form](card)
