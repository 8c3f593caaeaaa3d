"""Pairs of whole dialogues: what they share is the prompt, the rest are the answers."""

import pytest

from preftune.data.hh_rlhf import pair_dialogues
from preftune.data.schemas import SCHEMAS

OPENING = "\n\nHuman: Hello?\n\nAssistant: Hi.\n\nHuman: Who\n\nare you?"


def pair(chosen: str, rejected: str) -> dict[str, str]:
    return {"chosen": chosen, "rejected": rejected}


def test_the_last_shared_message_is_the_prompt_and_those_before_it_open() -> None:
    row = pair_dialogues(pair(f"{OPENING}\n\nAssistant: A\n\nfriend.", f"{OPENING}\n\nAssistant: Nobody."))
    assert row == {
        "prompt": "Who\n\nare you?", "chosen": "A\n\nfriend.", "rejected": "Nobody.",
        "opening": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}],
    }  # fmt: skip


def test_an_answer_in_two_turns_is_one_answer_even_if_it_starts_like_the_other() -> None:
    row = pair_dialogues(pair(f"{OPENING}\n\nAssistant: I.\n\nAssistant: Me.", f"{OPENING}\n\nAssistant: I."))
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Who\n\nare you?", "I.\n\nMe.", "I.")


@pytest.mark.parametrize(
    ("chosen", "rejected", "fault"),
    [
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: c\n\nAssistant: b", "open with different messages"),
        (OPENING + "\n\nAssistant: b", "\n\nHuman: Hello?\n\nAssistant: No.", "part before the last answer"),
        ("Hello?\n\nAssistant: b", OPENING, "column chosen is no dialogue"),
        (OPENING, "", "column rejected is no dialogue"),
    ],
)
def test_a_pair_without_a_shared_prompt_is_refused(chosen: str, rejected: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        pair_dialogues(pair(chosen, rejected))


def test_a_pair_with_an_empty_answer_is_not_scored() -> None:
    schema = SCHEMAS["hh-rlhf"]
    rows = [pair_dialogues(pair(f"{OPENING}\n\nAssistant: {one}", f"{OPENING}\n\nAssistant: No.")) for one in ("Yes.", "", "No.")]  # fmt: skip
    assert [schema.scorable(row) for row in rows] == [True, False, False]
