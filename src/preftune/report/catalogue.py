"""What the report shows, in its order, with the sentence that says what to see in each figure."""

PAPERS = {
    "dph": "Direct Preference Heads (arXiv 2405.20053)",
    "context_peft": "Context-PEFT (arXiv 2312.08900)",
}
FIGURES = {
    "dph": {
        "loss_landscape": (
            "Loss landscapes",
            "Label smoothing caps the margin: both losses rise again beyond the star or the dashed line.",
        ),
        "margins": (
            "Gradients and measured margins",
            "A gradient is zero at the cap that label smoothing sets; trained margins gather below it.",
        ),
        "training_curves": (
            "Training curves",
            "In a healthy run margin and accuracy rise and the loss falls, even where both rewards fall.",
        ),
        "task_scores": (
            "Accuracy per task",
            "Look where an interval stays clear of the chance mark, and whether systems overlap.",
        ),
        "reward_distributions": (
            "Rewards of held-out pairs",
            "The less the two histograms of a panel overlap, the better that head tells the answers apart.",
        ),
        "reliability": (
            "Reliability of rewards",
            "Marks on the diagonal: a difference of rewards is a probability; a flatter curve is overconfident.",
        ),
        "label_noise": (
            "Label noise",
            "See whether a larger epsilon keeps the accuracy up to a larger share of flipped pairs.",
        ),
        "alignment_cost": (
            "What alignment costs",
            "A system whose marks stay on the dashed lines left the language model as SFT made it.",
        ),
        "best_of": (
            "Best of n",
            "A curve above chance chooses better than blindly; the gap to the oracle is what a better score could still gain.",
        ),
        "accuracy_against_kl": (
            "Held-out accuracy against divergence",
            "Up and to the left is better: pairs ranked well by a language model that stayed near SFT.",
        ),
    },
    "context_peft": {
        "adaptors": (
            "Perplexity by adapter",
            "Full marks (context-specific) below pale ones (agnostic) are what the paper claims; its own values are open.",
        ),
        "encoders": (
            "Perplexity by vision encoder",
            "The paper's larger encoder lowers every mark; on the left, only what was run here.",
        ),
        "rank_sweep": (
            "Perplexity by LoRA rank",
            "At equal parameters an open mark (specific) stands beside the agnostic line; few ranks show no trend.",
        ),
        "equal_data": (
            "Captioning by the number of training images",
            "Where a curve crosses full fine-tuning's, a star says from how many images on the other is better.",
        ),
        "pareto": (
            "Perplexity against trainable parameters",
            "Down and to the left is better; marks on the grey line are beaten by no run in both.",
        ),
        "attention": (
            "Where caption words look",
            "Bright patches are the image tokens that a word draws on; an even map means no localisation.",
        ),
        "training_curves": (
            "Training curves",
            "Loss of every captioning run at the same steps and data: lower at the right end is better.",
        ),
        "gallery": (
            "Gallery",
            "The first images of the test split with the captions of every run and one reference.",
        ),
    },
}
