"""Jobs and files of the words that questions are asked in: template sets, and those whose words are fetched."""

from functools import cache, cached_property
from typing import Any

from preftune.data.tasks.registry import kinds
from preftune.data.templates import TemplateSet, read_templates
from preftune.provenance.digest import ROOT, module_digest
from preftune.provenance.record import hash_settings
from preftune.workflow.jobs import Job, Jobs


class WordingJobs(Jobs):
    """The template sets of a scale."""

    @cached_property
    def templates(self) -> str:
        """The file of the template set that words what models are trained on."""
        return self._templates_file(self.config.dph.templates)

    @cached_property
    def evaluation_templates(self) -> str:
        """The file of the template set that words what they are scored on: the same one, unless the config names another.

        Where its words are fetched, the file that holds them.
        """
        own = self.scored_set
        fetched = f"{self.config.resources}/prompts/{own.name}.yaml"
        return fetched if own.content.source else self.registered_templates

    @cached_property
    def scored_set(self) -> TemplateSet:
        """The template set that models are scored on, as it is before anything is fetched."""
        return read_templates(self.config.dph.evaluation.templates or self.config.dph.templates)

    @property
    def registered_templates(self) -> str:
        """The file of that set as it is before anything is fetched."""
        return self._templates_file(str(self.scored_set.path))

    def fetch_prompts(self) -> Job:
        """The words of the set that models are scored on, from their source."""
        own = self.scored_set
        source = own.content.source
        assert source is not None
        archive = {"url": source.url, "take": {source.folder: ""}}
        settings = {"name": own.name, "kind": "urls", "archives": {"code": archive}}
        return self.job("fetch_prompts", settings, facts=own.sha256 + self._pinned(settings, "model"))

    @cached_property
    def chat_templates(self) -> str:
        """The file of the set that words what a model answers itself: that of the evaluation, if its questions are chats."""
        return self.templates if self.scores_texts else self.evaluation_templates

    @cached_property
    def scores_texts(self) -> bool:
        """Whether questions are scored as plain texts, at which no reward head reads."""
        return self.scored_set.content.format == "text"

    def _templates_file(self, name: str) -> str:
        path = read_templates(name).path
        return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()

    @cache
    def words(self, tasks: tuple[str, ...], templates: str) -> str:
        """Hash of what decides the questions of tasks beside their data: registry rows, wordings, and the code of each kind."""
        content = (
            self.scored_set if templates == self.evaluation_templates else read_templates(templates)
        ).content
        found: dict[str, Any] = {"format": content.format, "delimiter": content.delimiter}
        found |= {"leading_eos": True} if content.leading_eos else {}
        for name in sorted(set(tasks) & set(self.tasks)):
            row = self.tasks[name]
            code = module_digest(kinds()[row["template"]].__module__)
            # Where words are fetched, the job that fetches them stands for them.
            wording = content.tasks[row["template"]].model_dump(mode="json", exclude={"foreign"})
            found[name] = [row, wording, code]
        return hash_settings(found)
