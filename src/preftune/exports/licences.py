"""What the licences of a model's parts ask of who passes it on, and the files that say so beside its weights."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from preftune.exports.sources import UNKNOWN, Source, registry
from preftune.provenance.digest import ROOT

NON_COMMERCIAL, REDISTRIBUTION, UNSTATED = "non-commercial", "redistribution", "unstated"
_SAID = {
    NON_COMMERCIAL: "NON-COMMERCIAL use only",
    REDISTRIBUTION: "may be passed on by its own terms only",
    UNSTATED: "no registry states its terms",
}
_APACHE = "Apache-2.0"


@dataclass(frozen=True)
class Terms:
    """One licence as config/licences.yaml describes it.

    Attributes:
        licence: as the registries word it.
        hub: its identifier on the hub, or empty.
        text: where its text stands, or empty.
        limits: `non-commercial`, `redistribution`, or `unstated` for a licence that nobody has described.
    """

    licence: str
    hub: str = ""
    text: str = ""
    limits: tuple[str, ...] = (UNSTATED,)

    @property
    def said(self) -> str:
        """The limits in words; empty where there are none."""
        return "; ".join(_SAID[limit] for limit in self.limits)


def terms_of(licence: str) -> Terms:
    """The terms of a licence by the registries' words."""
    entry = registry("licences").get(licence)
    if entry is None:
        return Terms(licence)
    return Terms(licence, entry.get("hub", ""), entry.get("text", ""), tuple(entry.get("limits", ())))


@dataclass(frozen=True)
class HubLicence:
    """The fields `license`, `license_name` and `license_link` of a card: the last two where the hub knows no one name for it."""

    license: str
    license_name: str | None = None
    license_link: str | None = None


def hub_licence(sources: Iterable[Source]) -> HubLicence:
    """The licences of all that a model was made from: no registry states one of what comes of them together."""
    parts = [terms_of(licence) for licence in sorted({source.licence for source in sources})]
    names = {part.hub for part in parts}
    if len(names) == 1 and "" not in names and not any(part.limits for part in parts):
        return HubLicence(names.pop())
    words = "-and-".join(part.licence for part in parts) or UNKNOWN
    return HubLicence("other", re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-"), "LICENSE")


def list_limits(sources: Iterable[Source]) -> list[str]:
    """A sentence for each part of a model whose terms limit what may be done with the model."""
    found = [(source, terms_of(source.licence)) for source in sources]
    return [f"{source.name} ({terms.licence}): {terms.said}." for source, terms in found if terms.limits]


def write_licence(sources: Sequence[Source]) -> str:
    """The file LICENSE of a model: the terms of every part, and the text of the licence that must be passed on with it."""
    lines = [
        "No licence covers this model as a whole: it was made from the parts below, and whoever uses it is bound by the terms of",
        "each of them. The file NOTICE says where each part comes from.",
    ]
    for licence in sorted({source.licence for source in sources}):
        terms = terms_of(licence)
        names = ", ".join(source.name for source in sources if source.licence == licence)
        lines += ["", f"{licence}", f"  parts:  {names}"]
        lines += [f"  text:   {terms.text}"] if terms.text else []
        lines += [f"  limits: {terms.said}"] if terms.limits else []
    if any(source.licence == _APACHE for source in sources):
        lines += ["", "-" * 80, "", _apache_text()]
    return "\n".join(lines).rstrip() + "\n"


@cache
def _apache_text() -> str:
    """The text of the Apache License 2.0, which asks to be passed on with what it covers: this project's own, without its head."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    return text[text.index("Apache License") :].lstrip()


def write_notice(sources: Sequence[Source]) -> str:
    """The file NOTICE: every part of a model, its origin and licence, and that its weights were changed."""
    lines = [
        "The weights here were trained from these parts, so that they differ from those of any base model:"
    ]
    for source in sources:
        lines += ["", f"{source.name} ({source.kind})"]
        lines += [f"  origin:  {source.origin or 'not in the registries'}"]
        lines += [f"  page:    {source.url}"] if source.url else []
        lines += [f"  licence: {source.licence}"]
    return "\n".join(lines) + "\n"
