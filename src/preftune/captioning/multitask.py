"""Training on several tasks: captions of images, answers to questions about texts and about images."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from preftune.captioning.batch import CAPTION, QUESTION, Task, image_tree
from preftune.captioning.captioner import Captioner
from preftune.captioning.data import CaptionedImages
from preftune.captioning.questions import Question
from preftune.captioning.store import FeatureSource
from preftune.errors import PreftuneError
from preftune.training.objective import Logged, TreeExample
from preftune.training.trees import Ids


class Drawn(NamedTuple):
    """One example of a task, as token ids without BOS and EOS; `image`: its image's id and the view of it, or None."""

    name: str
    question: Ids
    answer: Ids
    image: tuple[int, int] | None


class Part(Protocol):
    """The examples of one task."""

    @property
    def task(self) -> Task:
        """Whose words prompt and branch are."""

    def __len__(self) -> int:
        """Number of examples."""

    def draw(self, index: int, choose: random.Random) -> Drawn:
        """One example; what is random about it comes from `choose`."""


@dataclass(frozen=True)
class CaptionPart:
    """Images with one of their captions each, in one of their views; `captions`: token ids by image."""

    images: CaptionedImages
    captions: Sequence[Sequence[Ids]]
    task = CAPTION

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, index: int, choose: random.Random) -> Drawn:
        """An image's caption and view."""
        image = self.images.image_ids[index]
        view = choose.randrange(self.images.views(index))
        return Drawn(f"caption of {image}", (), choose.choice(self.captions[index]), (image, view))


@dataclass(frozen=True)
class QuestionPart:
    """Questions with one of their answers each; `prompts`, `answers`: token ids by question.

    An image is shown as it is: of a mirrored or recoloured one the answer may be another.
    """

    questions: Sequence[Question]
    prompts: Sequence[Ids]
    answers: Sequence[Sequence[Ids]]
    task = QUESTION

    def __len__(self) -> int:
        return len(self.questions)

    def draw(self, index: int, choose: random.Random) -> Drawn:
        """A question with the answer of one of its annotators."""
        question = self.questions[index]
        image = None if question.image_id is None else (question.image_id, 0)
        return Drawn(question.question_id, self.prompts[index], choose.choice(self.answers[index]), image)


@dataclass(frozen=True)
class TaskExample(TreeExample):
    """An example of a part, by the part's place, with the id and the view of its image (None: no image)."""

    part: int
    image: tuple[int, int] | None


class MultitaskObjective:
    """Mean over the examples of the global batch of their mean negative log-likelihood a token, EOS included, in nats.

    Every example counts alike: a mean over tokens would give captions, which are several times as long as answers, several
    times the weight. In an epoch every task has as many examples as the largest one; those of a smaller task come again.

    Args:
        features: of the images that the parts' examples are about; None where no part has any.
        seed: with the step and the index it determines what is drawn.
    """

    def __init__(
        self, captioner: Captioner, parts: Sequence[Part], features: FeatureSource | None, seed: int
    ) -> None:
        self.captioner = captioner
        self.parts = parts
        self.features = features
        self.seed = seed

    def __len__(self) -> int:
        return len(self.parts) * max(map(len, self.parts))

    def draw(self, index: int, step: int) -> TaskExample:
        """Tasks take turns along the indices."""
        turn, place = divmod(index, len(self.parts))
        part = self.parts[place]
        drawn = part.draw(turn % len(part), random.Random(f"{self.seed} {step} {index}"))
        tokens = 0 if drawn.image is None else self._features().shape[0]
        bos, eos = self.captioner.bos, self.captioner.eos
        tree = image_tree(drawn.name, bos, eos, tokens, [drawn.answer], drawn.question)
        return TaskExample(tree, place, drawn.image)

    def _features(self) -> FeatureSource:
        if self.features is None:
            raise PreftuneError(
                "An example is about an image, but no image features were given: give --features."
            )
        return self.features

    def units(self, example: TaskExample) -> int:
        """Examples are counted."""
        return 1

    def split(self, examples: Sequence[TaskExample], budget: int) -> list[list[int]]:
        """As the reader counts; one task a pass."""
        passes = []
        for part in sorted({example.part for example in examples}):
            own = [place for place, example in enumerate(examples) if example.part == part]
            groups = self.captioner.reader.split([examples[place].tree for place in own], budget)
            passes += [[own[place] for place in group] for group in groups]
        return passes

    def loss(self, examples: Sequence[TaskExample], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean, and its number of branch tokens; its examples are of one part."""
        images = [example.image for example in examples if example.image is not None]
        features = None
        if images:
            taken = self._features().take([image for image, _ in images], [view for _, view in images])
            features = torch.from_numpy(taken).to(next(self.captioner.parameters()).device)
        task = self.parts[examples[0].part].task
        nll, layout = self.captioner.nll([example.tree for example in examples], features, task)
        lengths = torch.bincount(layout.branch, minlength=layout.branches)
        return (nll / lengths[layout.branch]).sum() / units, {"tokens": len(nll)}
