"""The language model that captioners start from: fetched, or pre-trained here where the config has a section for it."""

from functools import cache, cached_property

from preftune.errors import PreftuneError
from preftune.settings.pretraining import PretrainingSection
from preftune.workflow.jobs import Job, Jobs


class PretrainingJobs(Jobs):
    """Jobs between raw documents and a pre-trained language model, and where the captioners' model comes from."""

    @property
    def pretraining(self) -> PretrainingSection:
        """The pre-training's section of the config."""
        section = self.context_peft.pretraining
        if section is None:
            raise PreftuneError(f"{self.source}: the section context_peft.pretraining is left out: add it.")
        return section

    @property
    def captioner_base(self) -> Job:
        """The job that brings the language model of all captioners, whatever their seed."""
        if self.context_peft.pretraining is not None:
            return self.train_language_model()
        return self.fetch_model(self.context_peft.model)

    @property
    def captioner_base_folder(self) -> str:
        """Where that model lies."""
        model = self.context_peft.model
        if self.context_peft.pretraining is not None:
            return f"{self.config.results}/context_peft/models/{model}/seed-0"
        return f"{self.config.resources}/models/{model}"

    @property
    def fetched_language_model(self) -> str:
        """The fetched model that captioners rest on: their own, or the one whose token embeddings it takes over."""
        section = self.context_peft.pretraining
        return self.context_peft.model if section is None else section.table

    @cached_property
    def corpus_raw(self) -> str:
        """The folder of raw files below which the documents lie."""
        return self.raw("dph", self.pretraining.dataset)

    @cache
    def prepare_corpus(self) -> Job:
        section, dataset = self.pretraining, self.pretraining.dataset
        path = self.datasets[dataset]["sources"]["files"]["train"]
        settings = {**section.source.model_dump(mode="json"), "name": dataset, "path": path}
        parents = (*self._raw_parents("dph", dataset), self.fetch_model(section.table))
        return self.job("prepare_corpus", settings, parents=parents)

    @cache
    def train_language_model(self) -> Job:
        """One model, of seed 0: seeds of captioners tell them apart, not what they start from."""
        section = self.pretraining
        settings = section.model_dump(mode="json", exclude={"dataset", "table", "corpus"})
        parents = (self.fetch_model(section.table), self.prepare_corpus())
        return self.job("train_language_model", settings, parents=parents)
