"""What each table is called, what it says below itself, and the heading of its rows."""

TITLES = {
    "glue": "GLUE (DPH paper)",
    "gpt4all": "GPT4All (DPH paper)",
    "race": "RACE (DPH paper)",
    "ablations": "Ablations of DPH: mean accuracy over tasks",
    "preferences": "Held-out preference pairs and choice tasks: accuracy by each score",
    "baselines": "Heads and what stands in their place: quality and cost",
    "frozen_grid": "Heads on the frozen SFT model: accuracy by the reward",
    "alignment_cost": "What alignment costs the language model",
    "reasoning": "Reasoning, contradiction and abstention",
    "calibration": "Are differences of rewards probabilities?",
    "paired_tests": "Two systems on the same questions, task by task",
    "best_of": "Best of n: the answer that the reward chooses",
    "pairwise": "Pairwise accuracy by section, in the manner of RewardBench",
    "gradients": "Norm of each loss's gradient, by part of the model",
    "overlap": "Questions of the evaluation that stand in the training mixes",
    "adaptors": "Adaptors (Context-PEFT paper, Table 1): caption perplexity",
    "encoders": "Encoders (Context-PEFT paper, Table 2): test perplexity, adaptors in attention and FFN",
    "parameters": "Trainable LM parameters (Context-PEFT paper, Table 3)",
    "captions": "Caption metrics, times 100",
    "costs": "What captioning runs cost",
    "controls": "Controls: blank images, shuffled captions, plain text, and runs against their controls",
    "multitask": "Adapters trained apart, joined and tuned, against one trained on all tasks (Context-PEFT paper, Fig. 7)",
    "equal_data": "Methods at equal numbers of training images, each at its own learning rate",
    "forgetting": "What training made the language model forget: perplexity of plain text",
}
NOTES = {
    "glue": "DPO, DPH and implicit are the log-probability score, the reward score and the log-ratio to the SFT model "
    "(DPO's implicit reward) of one checkpoint (run dph-joint).",
    "preferences": "Log a token is the mean log-probability of an answer's tokens, log summed that of the whole answer "
    "with its end, implicit the log-ratio to the SFT model. A dash: the run has no such score; a run with the SFT "
    "model's own weights has no implicit one.",
    "baselines": "Each system is read by the score that its training shapes, named in parentheses. Passes are those of "
    "every language model involved: an aligned policy scores what it generates, a reward model of its own comes on top "
    "of the generator, the implicit reward needs policy and reference. An aligned policy stands in the SFT model's place "
    "and adds its head to it; where SFT is a LoRA adapter, all share the base model, so a reward model of its own adds an "
    "adapter with a head, and the reference an adapter. A pair counts each time that it is seen. Computed once, before "
    "the training, is the SFT model's pass over the pairs (wall time of the step, loading included): states for heads on "
    "the frozen model, log-probabilities for DPO. All runs share it.",
    "alignment_cost": "KL(SFT || run) over held-out answers; length, repetition and ended answers of greedy decoding. "
    "Lower is better for the first two, higher for accuracy; outside the mix are tasks of which no pair was trained on.",
    "reasoning": "Higher is better for multi-step questions and TruthfulQA, lower for the three between: answers that "
    "contradict their passage, answers to questions that have none, and declined questions that have one.",
    "calibration": "δ is the reward of the preferred answer less that of the other. Pairs are the held-out preference pairs; "
    "choice pairs set the gold candidate of a question against each wrong one: all count alike, and questions are resampled "
    "with all of theirs. Choice tasks are without STS-B, whose answers are grades: the nearest is hardly wrong. A contrastive "
    "loss makes σ(δ) the probability, the separable one σ(δ/2) where the rewards of a pair are centred on zero. T is fitted by maximum likelihood, between 0.05 and 20, on one half of the questions (a seeded "
    "split) and predicts the other; the table gives the geometric mean of both fits, the interval of a prediction takes them "
    "as they are. ECE: ten bins of equal width, each seed by itself. ECE has no interval: chance lifts a sum of "
    "absolute gaps, and a resample lifts it once more, so that an interval can lie above the estimate. Lower is better for "
    "Brier score, log loss and ECE; always saying 1/2 has a Brier score of 0.25 and a log loss of 0.693.",
    "paired_tests": "The pairs of systems are those that the claims compare by accuracy. The interval of a − b is the paired "
    "bootstrap's, over items and, where there are several, seeds. Answers of several seeds to one question are not "
    "independent: who alone is right, and McNemar's exact two-sided p, are of the first seed of either system. Holm's "
    "correction is over the tasks of one pair of systems.",
    "best_of": "Shares of right answers among those that the run writes itself, mean over tasks; of n of the samples the one "
    "with the highest reward, log-probability a token, or implicit reward (log-ratio to the SFT model; a run whose language model "
    "is the SFT model has none), as expected over all ways to draw n of them. Random is the mean over the samples, which is what "
    "a choice by chance is right with; any of n, that one of them is right: no choice does better. Samples disagree where some "
    "are right and others are not, and only there a choice matters. An answer is right if it is the gold one but for case and "
    "punctuation, a check that no score takes part in. Left out are questions whose gold answer is longer than max_new_tokens "
    "(long_answer), whose prompt leaves no room for an answer in the model's context (long_prompt), or whose candidates are "
    "empty or equal but for case and punctuation (not_distinct); the best_of.json of each run and seed counts them by task, "
    "under skipped. "
    "The intervals of the differences are paired bootstraps over questions, and seeds where there are several.",
    "pairwise": "A pair is a question's gold answer against one of the others: won where the gold one has the higher score; a "
    "tie counts one half (RewardBench: as lost). A section counts all its pairs alike, overall is the plain mean of the "
    "sections that were run. Chat: preference pairs. Reasoning: GSM8K, WinoGrande, PIQA, HellaSwag, OpenBookQA, ARC. Reading: "
    "RACE, BoolQ, answerable SQuAD. Faithfulness: unanswerable SQuAD, passage contradiction, TruthfulQA. Language: GLUE without "
    "STS-B. Columns named RewardBench, where they were run, are its own pairs and sections, without its prior sets.",
    "gradients": "A dash: the part is frozen, or the loss does not reach it; a language-model head that is the token "
    "embedding counts as embeddings. KL is at its minimum at the SFT model, so its gradient is 0 up to rounding.",
    "overlap": "Counts of questions; 0 is a clean task. Texts are compared without case, punctuation and white space; "
    "only prompts of 13 words or more can share a 13-gram.",
    "costs": "Bytes are in MB (10^6); operations are multiplications and additions, of a token in MFLOP, in all in TFLOP. "
    "LM parameters are those that train in the language model, adapters included. Weights are those of language model, adapters "
    "and connector. A pass is forward and backward of the first step's largest micro-batch: what it took beyond the weights, and "
    "what is predicted, a gradient a trainable value and the activations that the backward pass needs (counted, unique storages). "
    "The prediction is an upper one where the gradients are large, since activations go while gradients come; a C library that "
    "keeps freed blocks makes a CPU process take up to 1.8 times as much. Optimizer state is predicted as two moments a trainable "
    "value, and measured in the optimiser. The peak of training is the process's resident memory, or what CUDA's allocator gave "
    "out (reserved: what it took from the device). Decoding is what captioning took beyond the weights; predicted are the "
    "key-value cache and the weights folded for the text group. Operations are counted in one forward and backward pass, the "
    "frozen image encoder and the optimiser left out, attention in full. Training time holds its validations. The perplexity to reach is the least validation "
    "perplexity of full fine-tuning (8 epochs at the paper's scale) with the same encoder, or of agnostic LoRA-8 where the scale "
    "has no full fine-tuning; steps to it are up to the first validation that is at or below it, its time and operations the "
    "training's own share of them. Energy is that of CPU packages (RAPL) and GPU (NVML), where their counters are readable.",
    "controls": "A row a − b is the difference of two runs that differ in what the row tests and in nothing else, with the paired "
    "bootstrap's interval over images or passages, and seeds where there are several: a context-specific LoRA and an agnostic one of "
    "twice the rank (as many parameters, equal rank in all); a group for image tokens alone (P-LoRA) or for text alone and both; "
    "MokA and LoRA; attention and feed-forward layers with as many parameters (for the paper's model); updates scaled by alpha / r or "
    "alpha / sqrt(r) and by 1; one view of the training images and all. Lower is better for perplexities and bits.",
    "equal_data": "A method's learning rate is the one of its grid with the lowest perplexity on the validation split, mean over seeds; "
    "test scores are those of that run alone. A number before % is the part of the training images; smaller parts of a seed lie in "
    "its larger ones. A dash: the rate is not in the method's grid. Crossings are interpolated linearly in the logarithm of the number "
    "of images.",
    "forgetting": "Before is the base model's perplexity, read from a run that leaves it as it is. The interval of the ratio is the "
    "paired bootstrap's over passages, and seeds where there are several. 1.0000 ± 0.0000: the language model reads "
    "text as before, as P-LoRA's does, whose parameters act on image tokens alone.",
    "multitask": "Captions: test perplexity, lower is better. Questions: score of greedy answers, VQAv2's soft accuracy or exact match. "
    "Joined is made of the first two runs and trained no further; tuned goes on from it on visual questions; agnostic is one "
    "adapter on every token, of as many parameters, trained on the three tasks in turn for as many steps as the three trainings. "
    "Change is the difference from the run that was trained on that task alone: what joining and tuning forgot, or what the tasks "
    "cost each other. A dash: the run reads no images, or is that run. Resampled are images or texts with all their captions or "
    "questions. Without a model: the most frequent answer of the training split, over all and of each kind.",
    "encoders": "Swin-Tiny and Swin-Large are the paper's; other scales use the encoders of config/runs.tsv.",
    "parameters": "Agnostic and specific are counted for the shape of the paper's LM, at every scale alike.",
}
NOTES["gpt4all"] = NOTES["race"] = NOTES["glue"]
HEADS = {
    "multitask": "Run",
    "gradients": "Loss",
    "overlap": "Task",
    "frozen_grid": "Head",
    "calibration": "Run, prediction",
    "paired_tests": "a − b, task",
    "equal_data": "Method, part of the images",
}
