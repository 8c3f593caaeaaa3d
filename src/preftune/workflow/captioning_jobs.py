"""Jobs of the Context-PEFT paper: captions, features, training, evaluation."""

from functools import cache, cached_property

from preftune.workflow.jobs import Job
from preftune.workflow.pretraining_jobs import PretrainingJobs


class CaptioningJobs(PretrainingJobs):
    """Every job between the images and the scores of the captioners."""

    def encoder(self, name: str) -> str:
        """The encoder whose features a captioning run reads."""
        return str(self.settings(name)["encoder"])

    @cached_property
    def encoders(self) -> list[str]:
        """Encoders of this scale's runs."""
        return sorted({self.encoder(run.name) for run in self.runs("context_peft")})

    @cache
    def train_captioner(self, name: str, seed: int) -> Job:
        """The job that trains a captioner."""
        settings = self.settings(name)
        encoder = settings["encoder"]
        settings = {key: value for key, value in settings.items() if key != "encoder"}
        parents = (
            self.captioner_base,
            self.compute_features(encoder),
            self.prepare_captions(),
        )
        return self.job("train_captioner", settings, seed=seed, parents=parents)

    @cache
    def prepare_captions(self) -> Job:
        settings = self.context_peft.captions.model_dump(mode="json")
        return self.job("prepare_captions", settings, parents=self._raw_parents("context_peft", "coco"))

    @cache
    def compute_features(self, encoder: str) -> Job:
        parents = (self.fetch_model(encoder), self.prepare_captions())
        return self.job("compute_features", self.context_peft.features.model_dump(), parents=parents)

    @cache
    def evaluate_captioner(self, run: str, seed: int) -> Job:
        settings = self.context_peft.evaluation
        parents = (
            self.train_captioner(run, seed),
            self.compute_features(self.encoder(run)),
            self.prepare_captions(),
            self.prepare_dataset(settings.text.dataset),
        )
        return self.job("evaluate_captioner", settings.model_dump(), parents=parents)

    @cache
    def evaluate_captions(self, run: str, seed: int) -> Job:
        settings = self.context_peft.metrics.model_dump()
        return self.job("evaluate_captions", settings, parents=(self.evaluate_captioner(run, seed),))

    def compute_attention(self) -> Job:
        settings = self.context_peft.attention.model_dump()
        run = self.run(settings.pop("run"))
        parents = (
            self.train_captioner(run.name, run.seeds[0]),
            self.compute_features(self.encoder(run.name)),
        )
        return self.job("compute_attention", settings, parents=parents)
