"""Generative data sets of the authors' SFT mix: rows in the hub's columns as a prompt, its response and the messages before it.

Which field answers which is the authors'; the words around the fields are ours (docs/deviations.md).
"""

from typing import Any

from preftune.data.values import text_of

Row = dict[str, Any]


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _talk(prompt: str, response: str, system: str = "") -> Row:
    opening = [{"role": "system", "content": system}] if system else []
    return {"prompt": prompt, "response": response, "opening": opening}


def follow_instruction(row: Row) -> Row:
    """Return an Alpaca row: the instruction, with its input below it where it has one."""
    instruction = text_of(row, "instruction")
    prompt = f"{instruction}\n{text_of(row, 'input')}" if row["input"] else instruction
    return _talk(prompt, row["output"])


def summarise_article(row: Row) -> Row:
    """Return a CNN / Daily Mail row: the article, answered with its highlights."""
    return _talk(f"{text_of(row, 'article')}\nSummarise the article.", row["highlights"])


def answer_orca(row: Row) -> Row:
    """Return an OpenOrca row behind its own system message."""
    return _talk(row["question"], row["response"], row["system_prompt"])


def tell_story(row: Row) -> Row:
    """Return a TinyStories row: the prompt that the story was written for."""
    return _talk(row["prompt"], row["story"])


def expand_summary(row: Row) -> Row:
    """Return a TinyStories row: its summary, answered with the story."""
    return _talk(f"{text_of(row, 'summary')}\nWrite this short story in simple words.", row["story"])


def check_turns(row: Row) -> Row:
    """Return a CoQA row whose every question has an answer."""
    if len(row["questions"]) != len(row["answers"]["input_text"]):
        raise ValueError(
            f"the story has {len(row['questions'])} questions and {len(row['answers']['input_text'])} answers"
        )
    return row


def split_turns(rows: list[Row]) -> list[Row]:
    """Return a row for each question of each story: the passage before the first question, earlier turns as messages."""
    return [turn for row in rows for turn in _turns(row)]


def _turns(row: Row) -> list[Row]:
    turns: list[Row] = []
    opening: list[dict[str, str]] = []
    for place, (question, answer) in enumerate(
        zip(row["questions"], row["answers"]["input_text"], strict=True)
    ):
        prompt = question if place else f"{row['story']}\n{question}"
        turns.append(
            {
                "document": f"{row['document']}/{place}",
                "prompt": prompt,
                "response": answer,
                "opening": opening,
            }
        )
        opening = [*opening, _user(prompt), {"role": "assistant", "content": answer}]
    return turns
